//! Known hosts: what verified connections have shown of a server, remembered per host and port
//! (`docs/protocol.md`, section 13).
//!
//! A client without memory can be downgraded: under [`Policy::Prefer`](crate::Policy::Prefer) an
//! attacker who blocks the side path strips the verification. An entry that says *greets* makes
//! every later connection to that host one that must be verified, whatever the policy, until the
//! entry expires. It is to the side protocol what HSTS (RFC 6797) is to TLS.
//!
//! - [`KnownHosts`] is the store; [`FileStore`] is the embedded one, which processes can share.
//! - [`ClientSettings::known_hosts`](crate::ClientSettings::known_hosts) gives it to a connector or
//!   a relay, which look up each host, enforce its entry, and record what they saw.
//! - Entries that strengthen a connection are made from **verified connections only**: by
//!   [`ClientSettings::remember`](crate::ClientSettings::remember), or by the response field
//!   `Multipath-TLS` (`Advertisement`, feature `known-hosts`; servers send it by
//!   `tower::AdvertiseLayer`). A [`Change`] that makes one cannot be
//!   built from anything but a verified [`Verdict`](crate::Verdict).
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use mtls_core::known_hosts::FileStore;
//! use mtls_core::{ClientSettings, Policy};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(FileStore::new("/var/lib/my-program/known-hosts.json"));
//! let settings = ClientSettings::new(Policy::Prefer)
//!     .side("socks5h://192.0.2.1:1080".parse()?)
//!     .known_hosts(store)
//!     .remember(Duration::from_secs(180 * 24 * 3600));
//! # let _ = settings;
//! # Ok(())
//! # }
//! ```

mod change;
mod entry;
mod error;
#[cfg(feature = "known-hosts")]
mod field;
mod file;

use std::fmt;

use futures_util::future::BoxFuture;

use crate::path::Endpoint;

pub use change::{Change, Remember};
pub use entry::{HostEntry, KeyPin, MAX_AGE, MAX_KEYS, MAX_NEITHER_AGE, Origin, Support};
pub use error::{KnownHostsError, KnownHostsFailure};
#[cfg(feature = "known-hosts")]
pub use field::{Advertisement, AdvertisementError, FIELD_NAME};
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use file::fuzz;
pub use file::{ClockJump, FileStore, Listed, Notice};

/// A store of known hosts. All methods may be called concurrently.
///
/// # Obligations
/// - An entry belongs to one host and port, never to subdomains or other ports.
/// - [`record`](Self::record) applies the change with [`Change::apply`], which has the rules, to the
///   newest entry, atomically: concurrent changes of one store must not lose one another.
/// - An entry is returned until it [expires](HostEntry::is_expired). A store that cannot be read
///   returns an error and never "no entry": the caller then refuses the connection.
/// - The number of entries is bounded. A full store refuses new entries, and never evicts one of
///   [`Support::Greets`] or [`Support::Resumes`] for another: an attacker's hosts must not displace
///   others.
pub trait KnownHosts: fmt::Debug + Send + Sync + 'static {
    /// Returns the entry of a host, if there is one that has not expired.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn lookup<'a>(
        &'a self,
        host: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Option<HostEntry>, KnownHostsError>>;

    /// Changes the entry of a host.
    ///
    /// # Errors
    /// If the store cannot be read or written, or is full; it is then unchanged.
    fn record<'a>(
        &'a self,
        host: &'a Endpoint,
        change: Change,
    ) -> BoxFuture<'a, Result<(), KnownHostsError>>;
}

/// The host and port under which an entry is stored: a final dot of the name is ignored.
pub(crate) fn canonical(host: &Endpoint) -> Endpoint {
    host.without_final_dot()
}

#[cfg(test)]
mod tests;
