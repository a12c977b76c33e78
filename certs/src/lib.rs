//! Test certificates for multipath TLS: a CA, a server, and a rogue CA with the same subject.
//!
//! Multipath TLS (never mutual TLS) notices a man in the middle whose certificate the client
//! trusts. To show that, a test needs two authorities that look alike: the real one, and a
//! rogue one with the same subject and another key. A [`Pki`] is both, with a server
//! certificate from each; an [`Authority`] issues more.
//!
//! ```
//! use mtls_certs::Pki;
//!
//! # fn main() -> Result<(), mtls_certs::Error> {
//! let pki = Pki::new(&["localhost", "127.0.0.1"])?;
//! assert_ne!(pki.ca.cert_der(), pki.rogue_ca.cert_der());
//!
//! // The chain and the key are what rustls's `with_single_cert` takes.
//! let (chain, key) = (pki.server.chain_der(), pki.server.key_der());
//! assert_eq!(chain.len(), 2);
//!
//! let client = pki.ca.issue_client("alice")?;
//! # let _ = (key, client);
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `rustls`, they make configurations too: `Pki::client_config`,
//! `Pki::server_config`, `Pki::rogue_config`.
//!
//! The keys are made for tests and development: they lie unencrypted in memory and, after
//! [`Pki::write`], in files that only their owner can read.

mod authority;
pub mod cli;
#[cfg(feature = "rustls")]
mod config;
mod error;
mod host;
mod pki;
mod write;

pub use authority::{Authority, KeyAlgorithm, Leaf};
pub use error::{Error, InvalidHostName};
pub use host::HostName;
pub use pki::Pki;
pub use rustls_pki_types as pki_types;
