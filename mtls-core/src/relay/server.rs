//! The relay in front of a server: it stands in for the server's own acceptor.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, SecureRandom};
use tokio::sync::Semaphore;

use super::pump::{DEFAULT_PIPES, Pipes};
use crate::error::{ApiMisuse, Error, non_zero_durations};
use crate::path::{Dial, Endpoint, Path};
use crate::proto::binding::Binding;
use crate::side::server::service::{SideService, SideServiceBuilder, side_service_setters};
use crate::verdict::policy::Policy;

/// Answers the verifications of a TLS 1.3 server that knows nothing of them, with the hello
/// binding.
///
/// It relays each TLS connection to its target, taps the hellos, registers them before the
/// ServerHello leaves, and answers side connections on the same port or elsewhere. It never
/// terminates TLS. Clones share the registry and all bounds.
pub struct ServerRelay<D = Path> {
    pub(super) inner: Arc<Inner<D>>,
}

pub(super) struct Inner<D> {
    pub(super) target: Endpoint,
    pub(super) path: D,
    pub(super) settings: Settings,
    pub(super) sides: Arc<SideService>,
    pub(super) pipes: Pipes,
    pub(super) preamble: Option<Preamble>,
    pub(super) tunnels: Arc<Semaphore>,
}

/// What is written to the target ahead of everything else.
pub(super) type Preamble = Arc<dyn Fn(ClientAddresses) -> Vec<u8> + Send + Sync>;

/// Where a client of a relay comes from, and where it connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientAddresses {
    /// The client's own.
    pub peer: SocketAddr,
    /// Where the relay took the connection; `None` when its stream is no TCP socket.
    pub local: Option<SocketAddr>,
}

/// What a relay was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) policy: Policy,
    pub(super) deadline: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) idle: Duration,
    pub(super) tunnels: usize,
}

impl<D> Clone for ServerRelay<D> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<D> fmt::Debug for ServerRelay<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRelay")
            .field("target", &self.inner.target)
            .field("settings", &self.inner.settings)
            .field("sides", &self.inner.sides)
            .finish_non_exhaustive()
    }
}

impl ServerRelay<Path> {
    /// Starts a builder of a relay to `target`. The relay takes its random numbers from
    /// `provider`, and needs no other cryptography of it. The policy has no default.
    pub fn builder(
        provider: &CryptoProvider,
        target: Endpoint,
        policy: Policy,
    ) -> ServerRelayBuilder<Path> {
        ServerRelayBuilder::new(provider.secure_random, target, policy, Path::system())
    }
}

impl<D: Dial> ServerRelay<D> {
    /// How many tunnels are open.
    pub fn tunnels(&self) -> usize {
        self.inner.settings.tunnels - self.inner.tunnels.available_permits()
    }
}

/// Builds a [`ServerRelay`].
#[must_use]
pub struct ServerRelayBuilder<D> {
    random: &'static dyn SecureRandom,
    target: Endpoint,
    path: D,
    settings: Settings,
    pipes: usize,
    preamble: Option<Preamble>,
    side: SideServiceBuilder,
}

impl<D> fmt::Debug for ServerRelayBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRelayBuilder")
            .field("target", &self.target)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<D: Dial> ServerRelayBuilder<D> {
    fn new(random: &'static dyn SecureRandom, target: Endpoint, policy: Policy, path: D) -> Self {
        let mut side = SideServiceBuilder::default();
        side.settings.limits.bindings = Binding::Hello.into();
        Self {
            random,
            target,
            path,
            settings: Settings {
                policy,
                deadline: Duration::from_secs(3),
                handshake_timeout: Duration::from_secs(10),
                idle: Duration::from_secs(3600),
                tunnels: 65_536,
            },
            pipes: DEFAULT_PIPES,
            preamble: None,
            side,
        }
    }

    /// Dials the target another way, as a simulated network does.
    pub fn path<E: Dial>(self, path: E) -> ServerRelayBuilder<E> {
        ServerRelayBuilder {
            random: self.random,
            target: self.target,
            path,
            settings: self.settings,
            pipes: self.pipes,
            preamble: self.preamble,
            side: self.side,
        }
    }

    /// How long a client's bytes may be held back for a Confirm, counted from the ClientHello.
    /// Default: 3 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long a client may take for its ClientHello, and then for everything up to its first
    /// bytes after the ServerHello. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// How long a tunnel in which neither end sends anything stays open, at least; at most twice
    /// as long. Default: 1 h.
    pub fn tunnel_idle_timeout(mut self, idle: Duration) -> Self {
        self.settings.idle = idle;
        self
    }

    /// How many tunnels may be open; one more is refused. Default: 65,536.
    pub fn max_tunnels(mut self, tunnels: usize) -> Self {
        self.settings.tunnels = tunnels;
        self
    }

    /// What to write to the target ahead of each client's bytes, for a target that wants to be told
    /// who the client is: a PROXY protocol header, say. Default: nothing.
    pub fn preamble(
        mut self,
        preamble: impl Fn(ClientAddresses) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.preamble = Some(Arc::new(preamble));
        self
    }

    /// How many pipes there may be, for bytes that pass through the kernel; see
    /// [`ClientRelayBuilder::max_pipes`](super::ClientRelayBuilder::max_pipes). Default: 256.
    pub fn max_pipes(mut self, pipes: usize) -> Self {
        self.pipes = pipes;
        self
    }

    side_service_setters!();

    /// Builds the relay.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for settings that cannot be.
    pub fn build(mut self) -> Result<ServerRelay<D>, Error> {
        non_zero_durations(&[
            ("deadline", self.settings.deadline),
            ("handshake_timeout", self.settings.handshake_timeout),
            ("tunnel_idle_timeout", self.settings.idle),
        ])?;
        if self.settings.tunnels == 0 {
            return Err(ApiMisuse::ZeroLimit("max_tunnels").into());
        }
        self.settings.tunnels = self.settings.tunnels.min(Semaphore::MAX_PERMITS);
        let sides = self.side.build(self.random)?;
        Ok(ServerRelay {
            inner: Arc::new(Inner {
                target: self.target,
                path: self.path,
                settings: self.settings,
                sides: Arc::new(sides),
                pipes: Pipes::new(self.pipes),
                preamble: self.preamble,
                tunnels: Arc::new(Semaphore::new(self.settings.tunnels)),
            }),
        })
    }
}
