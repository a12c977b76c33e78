//! The relay in front of a client: it stands in for the client's own connector.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{SecureRandom, aws_lc_rs};

use super::tunnel::Tunnel;
use crate::connector::Settings;
use crate::connector::pool::{Pool, PoolSettings};
use crate::error::{ApiMisuse, Error};
use crate::path::{Dial, Endpoint, Path};
use crate::policy::Policy;
use crate::proto::binding::Binding;

/// Verifies the TLS connections of clients that know nothing of it, with the hello binding.
///
/// For each [`Tunnel`] it dials the target over the primary path, taps the hellos, and **holds the
/// server's flight back until the proof checks**: a man in the middle gets a ClientHello (two, if
/// he sends a HelloRetryRequest) and never an answer to his ServerHello. Clones share the side
/// connections.
pub struct ClientRelay<D = Path> {
    pub(super) inner: Arc<Inner<D>>,
}

pub(super) struct Inner<D> {
    pub(super) settings: Settings,
    pub(super) idle: Duration,
    pub(super) primary: D,
    pub(super) sides: Vec<D>,
    pub(super) side_endpoint: Option<Endpoint>,
    pub(super) pool: Pool,
    pub(super) random: &'static dyn SecureRandom,
}

impl<D> Clone for ClientRelay<D> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<D> fmt::Debug for ClientRelay<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRelay")
            .field("settings", &self.inner.settings)
            .field("side_endpoint", &self.inner.side_endpoint)
            .finish_non_exhaustive()
    }
}

impl ClientRelay<Path> {
    /// A relay for clients. The policy has no default: say what is insisted on. A tunnel can have
    /// one of its own.
    pub fn builder(policy: Policy) -> ClientRelayBuilder<Path> {
        ClientRelayBuilder::new(policy, Path::system())
    }
}

impl<D: Dial> ClientRelay<D> {
    /// A tunnel to `target`; nothing is dialled yet.
    pub fn tunnel(&self, target: Endpoint) -> Tunnel<D> {
        Tunnel::new(self.clone(), target)
    }
}

/// Builds a [`ClientRelay`].
#[derive(Debug)]
#[must_use]
pub struct ClientRelayBuilder<D> {
    primary: D,
    sides: Vec<D>,
    side_endpoint: Option<Endpoint>,
    settings: Settings,
    idle: Duration,
    pool: PoolSettings,
}

impl<D: Dial> ClientRelayBuilder<D> {
    fn new(policy: Policy, primary: D) -> Self {
        Self {
            primary,
            sides: Vec::new(),
            side_endpoint: None,
            settings: Settings {
                policy,
                bindings: Binding::Hello.into(),
                require_independent: false,
                deadline: Duration::from_secs(3),
                handshake_timeout: Duration::from_secs(10),
            },
            idle: Duration::from_secs(3600),
            pool: PoolSettings {
                idle: Duration::from_secs(60),
                users: 64,
                connections: 256,
            },
        }
    }

    /// Dials another way: every path of the relay, as a simulated network does. Sides that were
    /// added before are dropped.
    pub fn primary_with<E: Dial>(self, primary: E) -> ClientRelayBuilder<E> {
        ClientRelayBuilder {
            primary,
            sides: Vec::new(),
            side_endpoint: self.side_endpoint,
            settings: self.settings,
            idle: self.idle,
            pool: self.pool,
        }
    }

    /// The path of the tunnels themselves. Default: as the system routes.
    pub fn primary(mut self, path: D) -> Self {
        self.primary = path;
        self
    }

    /// Adds a side path; all of them must verify.
    pub fn side(mut self, path: D) -> Self {
        self.sides.push(path);
        self
    }

    /// Where the side verifier listens. Default: at each target's own host and port.
    pub fn side_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.side_endpoint = Some(endpoint);
        self
    }

    /// Refuses paths that are not independent; see
    /// [`ConnectorBuilder::require_independent`](crate::connector::ConnectorBuilder::require_independent).
    pub fn require_independent(mut self, required: bool) -> Self {
        self.settings.require_independent = required;
        self
    }

    /// How long a verification may take, counted from the ClientHello's leaving. Default: 3 s. A
    /// security parameter: given time, two attackers who are apart become two who talk.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long the client may take for its ClientHello, and then the server for its ServerHello.
    /// Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// How long a tunnel in which neither end sends anything stays open, at least; at most twice
    /// as long. Default: 1 h.
    pub fn tunnel_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// How long a side connection stays open for later tunnels. Default: 60 s; zero gives every
    /// tunnel a side connection of its own.
    pub fn side_idle_timeout(mut self, idle: Duration) -> Self {
        self.pool.idle = idle;
        self
    }

    /// How many side connections are kept open. Default: 256.
    pub fn max_side_connections(mut self, connections: usize) -> Self {
        self.pool.connections = connections;
        self
    }

    /// How many verifications share one side connection at a time. Default: 64.
    pub fn max_verifications_per_side_connection(mut self, verifications: usize) -> Self {
        self.pool.users = verifications;
        self
    }

    /// Builds the relay.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for settings that cannot be.
    pub fn build(self) -> Result<ClientRelay<D>, Error> {
        if self.sides.is_empty() {
            return Err(ApiMisuse::NoSidePath.into());
        }
        for (name, duration) in [
            ("deadline", self.settings.deadline),
            ("handshake_timeout", self.settings.handshake_timeout),
            ("tunnel_idle_timeout", self.idle),
        ] {
            if duration.is_zero() {
                return Err(ApiMisuse::ZeroDuration(name).into());
            }
        }
        if self.pool.users == 0 {
            return Err(ApiMisuse::ZeroLimit("max_verifications_per_side_connection").into());
        }
        Ok(ClientRelay {
            inner: Arc::new(Inner {
                settings: self.settings,
                idle: self.idle,
                primary: self.primary,
                sides: self.sides,
                side_endpoint: self.side_endpoint,
                pool: Pool::new(self.pool),
                random: aws_lc_rs::default_provider().secure_random,
            }),
        })
    }
}
