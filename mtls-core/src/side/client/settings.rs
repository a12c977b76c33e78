//! Settings of a client: its policy, its paths, and the limits of its verifications.

use std::sync::Arc;
use std::time::Duration;

use super::pool::{Pool, PoolSettings};
use crate::error::{ApiMisuse, Error, TimedOut, non_zero_durations};
use crate::known_hosts::KnownHosts;
use crate::path::{Dial, Endpoint, Path, SubflowSource};
use crate::proto::binding::Bindings;
use crate::tls::authentication::Authentication;
use crate::verdict::policy::Policy;

/// Settings of a client, for [`MultipathConnector::builder`](crate::MultipathConnector::builder) and
/// `relay::ClientRelay::builder`.
///
/// A client needs at least one [side path](Self::side); everything else has a default. Clone the
/// settings to give the same ones to a connector and a relay.
///
/// ```
/// use std::time::Duration;
///
/// use mtls_core::path::Path;
/// use mtls_core::{ClientSettings, Policy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = ClientSettings::new(Policy::Require)
///     .primary(Path::system())
///     .side(Path::interface("wwan0")?)
///     .side("socks5h://192.0.2.1:1080".parse()?)
///     .require_independent(true)
///     .deadline(Duration::from_secs(2));
/// # let _ = settings;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct ClientSettings<D = Path> {
    pub(crate) policy: Policy,
    pub(crate) primary: D,
    pub(crate) sides: Vec<D>,
    pub(crate) side_endpoint: Option<Endpoint>,
    pub(crate) bindings: Bindings,
    pub(crate) require_independent: bool,
    pub(crate) deadline: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) pool: PoolSettings,
    pub(crate) memory: Memory,
    pub(crate) join: Option<SubflowSource>,
    #[cfg(feature = "mptcp")]
    pub(crate) subflow_use: SubflowUse,
}

/// The use of a further subflow for the data of a connection, at both ends. Feature `mptcp`.
#[cfg(feature = "mptcp")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubflowUse {
    /// Like the first one.
    #[default]
    Both,
    /// In place of the first one, while it works.
    Preferred,
    /// Only while the first one does not work.
    Backup,
}

/// The settings of known hosts.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) store: Option<Arc<dyn KnownHosts>>,
    pub(crate) remember: Option<Duration>,
    pub(crate) neither: Duration,
    pub(crate) accept_new_key: bool,
    pub(crate) allow_pinned: bool,
}

impl ClientSettings<Path> {
    /// Settings with the system's route as the primary path, and no side path yet. The policy has no
    /// default (`docs/protocol.md`, section 6.1).
    pub fn new(policy: Policy) -> Self {
        Self::with_primary(policy, Path::system())
    }
}

impl<D> ClientSettings<D> {
    /// Settings whose paths are dialled by a [`Dial`] of another type than [`Path`], such as a
    /// simulated network's.
    pub fn with_primary(policy: Policy, primary: D) -> Self {
        Self {
            policy,
            primary,
            sides: Vec::new(),
            side_endpoint: None,
            bindings: Bindings::ALL,
            require_independent: false,
            deadline: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(10),
            pool: PoolSettings {
                idle: Duration::from_secs(60),
                users: 64,
                connections: 256,
            },
            memory: Memory {
                store: None,
                remember: None,
                neither: Duration::from_secs(600),
                accept_new_key: false,
                allow_pinned: false,
            },
            join: None,
            #[cfg(feature = "mptcp")]
            subflow_use: SubflowUse::Both,
        }
    }

    /// Sets the path of the TLS connection. Default: the system's route.
    pub fn primary(mut self, path: D) -> Self {
        self.primary = path;
        self
    }

    /// Adds a subflow over this network to each connection, after the verdict, for its data: with a
    /// primary path of Multipath TCP ([`Path::mptcp`]). Default: none; the kernel's own path manager may
    /// add some. Feature `mptcp`.
    ///
    /// It takes `CAP_NET_ADMIN` and `net.mptcp.path_manager=userspace`. The verdict does not wait for it,
    /// and a connection whose second network does not work stays as it is.
    #[cfg(feature = "mptcp")]
    pub fn join(mut self, source: SubflowSource) -> Self {
        self.join = Some(source);
        self
    }

    /// Sets the use of the subflow of [`join`](Self::join), or of a side path inside the connection
    /// ([`Path::subflow`]), for data. Default: [`SubflowUse::Both`]. Feature `mptcp`.
    #[cfg(feature = "mptcp")]
    pub fn subflow_use(mut self, subflow_use: SubflowUse) -> Self {
        self.subflow_use = subflow_use;
        self
    }

    /// Adds a side path. All side paths must verify (`docs/protocol.md`, section 6.3).
    pub fn side(mut self, path: D) -> Self {
        self.sides.push(path);
        self
    }

    /// Sets the address of the side verifier. Default: the host and port of each server.
    pub fn side_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.side_endpoint = Some(endpoint);
        self
    }

    /// Sets the bindings to offer (`docs/protocol.md`, section 4). Offer
    /// [`Binding::Exporter`](crate::proto::binding::Binding::Exporter) alone to demand it; a relay
    /// supports [`Binding::Hello`](crate::proto::binding::Binding::Hello) only. Default: both; the
    /// server chooses the exporter where it can.
    pub fn bindings(mut self, bindings: impl Into<Bindings>) -> Self {
        self.bindings = bindings.into();
        self
    }

    /// Demands that every side path is
    /// [independent](crate::path::Independence::is_independent) of the primary path. A connection
    /// over other paths is not verified; [`Policy::Require`] and [`Policy::Prefer`] refuse it.
    /// Default: off; the verdict reports the independence.
    pub fn require_independent(mut self, required: bool) -> Self {
        self.require_independent = required;
        self
    }

    /// Sets the time limit of a verification, counted from the departure of the ClientHello
    /// (`docs/protocol.md`, section 7). Under [`Policy::Require`] it limits the TLS handshake too.
    /// Default: 3 s.
    ///
    /// It is a security parameter: a longer deadline gives attackers on different paths more time to
    /// exchange messages.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the time limit of the TLS handshake. A relay applies it to the client's ClientHello, and
    /// then to the server's ServerHello. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets how long a side connection without a verification stays open for later connections.
    /// Zero: no side connection is reused. Default: 60 s.
    pub fn side_idle_timeout(mut self, idle: Duration) -> Self {
        self.pool.idle = idle;
        self
    }

    /// Sets the number of side connections that stay open for later connections. A side connection
    /// beyond it serves one connection only. Default: 256.
    pub fn max_side_connections(mut self, connections: usize) -> Self {
        self.pool.connections = connections;
        self
    }

    /// Sets the number of verifications that share one side connection at a time. One more opens
    /// another side connection. Default: 64.
    pub fn max_verifications_per_side_connection(mut self, verifications: usize) -> Self {
        self.pool.users = verifications;
        self
    }

    /// Sets the store of known hosts, whose entries are enforced and renewed
    /// (`docs/protocol.md`, section 13). Default: none.
    ///
    /// A host that *greets* is under [`Policy::Require`], whatever the policy of the settings, and is
    /// verified by the side protocol. A connection that violates an entry is
    /// [`Error::KnownHost`](crate::Error::KnownHost).
    pub fn known_hosts(mut self, store: Arc<dyn KnownHosts>) -> Self {
        self.memory.store = Some(store);
        self
    }

    /// Remembers the server of each verified connection for this time. Default: entries that exist
    /// are renewed, and none is made.
    pub fn remember(mut self, max_age: Duration) -> Self {
        self.memory.remember = Some(max_age);
        self
    }

    /// Sets how long it is remembered under [`Policy::Prefer`] that a server supports no verification
    /// over these side paths; meanwhile connections to it open no side connection. At most 1 h; zero:
    /// not at all. Default: 10 min.
    ///
    /// An attacker who can suppress the greeting on every side path once prevents the verification
    /// for this time, and not only while they do.
    pub fn remember_neither(mut self, max_age: Duration) -> Self {
        self.memory.neither = max_age;
        self
    }

    /// Accepts, and remembers, a raw public key ([`smkex`](crate::smkex)) that differs from the one
    /// in the store, where the connection is verified. Default: such a connection is refused.
    pub fn accept_new_key(mut self, accept: bool) -> Self {
        self.memory.accept_new_key = accept;
        self
    }

    /// Accepts a connection whose side paths cannot be connected if the server shows a key of
    /// earlier verified connections, under every policy. Its verdict is
    /// [`Outcome::Pinned`](crate::Outcome::Pinned), never verified. Default: off.
    ///
    /// Without [`inherit`](crate::ConnectorBuilder::inherit) such a connector resumes no session,
    /// because a resumed handshake shows no key.
    pub fn allow_pinned(mut self, allow: bool) -> Self {
        self.memory.allow_pinned = allow;
        self
    }
}

/// Checked settings of a client, with its pool of side connections.
pub(crate) struct ClientPaths<D> {
    pub(crate) settings: ClientSettings<D>,
    pub(crate) authentication: Authentication,
    pub(crate) pool: Pool,
}

impl<D: Dial> ClientPaths<D> {
    /// Checks settings for a transport that supports these bindings.
    pub(crate) fn new(
        mut settings: ClientSettings<D>,
        supported: Bindings,
        authentication: Authentication,
    ) -> Result<Self, ApiMisuse> {
        if settings.sides.is_empty() {
            return Err(ApiMisuse::NoSidePath);
        }
        let inside = settings
            .sides
            .iter()
            .filter(|side| side.subflow().is_some());
        match inside.count() {
            0 => {}
            1 if !settings.primary.uses_mptcp() => return Err(ApiMisuse::SubflowWithoutMptcp),
            1 if settings.join.is_some() => return Err(ApiMisuse::SeveralSubflows),
            1 if supported != Bindings::ALL => return Err(ApiMisuse::SubflowMethod),
            1 => {}
            _ => return Err(ApiMisuse::SeveralSubflows),
        }
        if settings.join.is_some() && !settings.primary.uses_mptcp() {
            return Err(ApiMisuse::SubflowWithoutMptcp);
        }
        settings.bindings = settings.bindings.intersection(supported);
        if settings.bindings.strongest_common(Bindings::ALL).is_none() {
            return Err(ApiMisuse::NoBinding);
        }
        non_zero_durations(&[
            ("deadline", settings.deadline),
            ("handshake_timeout", settings.handshake_timeout),
        ])?;
        if settings.pool.users == 0 {
            return Err(ApiMisuse::ZeroLimit(
                "max_verifications_per_side_connection",
            ));
        }
        Ok(Self {
            pool: Pool::new(settings.pool),
            settings,
            authentication,
        })
    }
}

impl<D: Dial> ClientPaths<D> {
    /// The side path inside the primary connection, if there is one.
    pub(crate) fn inside(&self) -> Option<usize> {
        let sides = &self.settings.sides;
        sides.iter().position(|side| side.subflow().is_some())
    }
}

impl<D> ClientPaths<D> {
    /// The time limit of the handshake under this policy, from the departure of the ClientHello.
    pub(crate) fn handshake_limit(&self, policy: Policy) -> Duration {
        let settings = &self.settings;
        match policy {
            // Nothing can verify after the deadline, so there is nothing to wait for.
            Policy::Require => settings.handshake_timeout.min(settings.deadline),
            Policy::Prefer | Policy::Observe => settings.handshake_timeout,
        }
    }

    /// The error of a handshake that took longer.
    pub(crate) fn handshake_timed_out(&self, policy: Policy) -> Error {
        let by_deadline = self.handshake_limit(policy) < self.settings.handshake_timeout;
        Error::TimedOut(match by_deadline {
            true => TimedOut::Deadline,
            false => TimedOut::Handshake,
        })
    }
}
