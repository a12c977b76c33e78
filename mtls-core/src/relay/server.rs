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
use crate::side::server::service::SideService;
use crate::side::server::settings::SideServiceSettings;

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
    pub(super) sides: Arc<SideService>,
    pub(super) idle: Duration,
    max_tunnels: usize,
    pub(super) pipes: Pipes,
    pub(super) preamble: Option<Preamble>,
    pub(super) tunnels: Arc<Semaphore>,
}

/// The bytes that are written to the target first.
pub(super) type Preamble = Arc<dyn Fn(ClientAddresses) -> Vec<u8> + Send + Sync>;

/// The addresses of a client's connection to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientAddresses {
    /// The client's own.
    pub peer: SocketAddr,
    /// The local address; `None` if the stream is not a TCP socket.
    pub local: Option<SocketAddr>,
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
            .field("sides", &self.inner.sides)
            .finish_non_exhaustive()
    }
}

impl ServerRelay<Path> {
    /// Starts a builder of a relay to `target`. The relay takes random numbers from `provider`, and
    /// uses nothing else of it. A [`Policy`](crate::Policy) can stand in for the settings.
    pub fn builder(
        provider: &CryptoProvider,
        target: Endpoint,
        settings: impl Into<SideServiceSettings>,
    ) -> ServerRelayBuilder<Path> {
        ServerRelayBuilder {
            random: provider.secure_random,
            target,
            path: Path::system(),
            settings: settings.into(),
            idle: Duration::from_secs(3600),
            max_tunnels: 65_536,
            pipes: DEFAULT_PIPES,
            preamble: None,
        }
    }
}

impl<D: Dial> ServerRelay<D> {
    /// The number of open tunnels.
    pub fn tunnels(&self) -> usize {
        self.inner.max_tunnels - self.inner.tunnels.available_permits()
    }
}

/// Builds a [`ServerRelay`].
///
/// ```
/// use std::time::Duration;
///
/// use mtls_core::relay::ServerRelay;
/// use mtls_core::{Policy, SideServiceSettings};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = rustls::crypto::aws_lc_rs::default_provider();
/// let settings = SideServiceSettings::new(Policy::Prefer).deadline(Duration::from_secs(2));
/// let relay = ServerRelay::builder(&provider, "192.0.2.7:443".parse()?, settings)
///     .max_tunnels(1000)
///     .build()?;
/// # let _ = relay;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct ServerRelayBuilder<D = Path> {
    random: &'static dyn SecureRandom,
    target: Endpoint,
    path: D,
    settings: SideServiceSettings,
    idle: Duration,
    max_tunnels: usize,
    pipes: usize,
    preamble: Option<Preamble>,
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
    /// Sets the path to the target. Default: the system's route.
    pub fn path<E: Dial>(self, path: E) -> ServerRelayBuilder<E> {
        ServerRelayBuilder {
            random: self.random,
            target: self.target,
            path,
            settings: self.settings,
            idle: self.idle,
            max_tunnels: self.max_tunnels,
            pipes: self.pipes,
            preamble: self.preamble,
        }
    }

    /// Sets the idle timeout of a tunnel: one in which neither end sends anything for this time closes
    /// before twice this time. Default: 1 h.
    pub fn tunnel_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets the number of open tunnels; one more is refused. Default: 65,536.
    pub fn max_tunnels(mut self, tunnels: usize) -> Self {
        self.max_tunnels = tunnels;
        self
    }

    /// Sets the bytes to write to the target before each client's bytes, such as a PROXY protocol
    /// header with the client's address. Default: none.
    pub fn preamble(
        mut self,
        preamble: impl Fn(ClientAddresses) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.preamble = Some(Arc::new(preamble));
        self
    }

    /// Sets the number of pipes for bytes that pass through the kernel; see
    /// [`ClientRelayBuilder::max_pipes`](super::ClientRelayBuilder::max_pipes). Default: 256.
    pub fn max_pipes(mut self, pipes: usize) -> Self {
        self.pipes = pipes;
        self
    }

    /// Builds the relay.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for invalid settings: a duration or a limit of zero.
    pub fn build(self) -> Result<ServerRelay<D>, Error> {
        non_zero_durations(&[("tunnel_idle_timeout", self.idle)])?;
        if self.max_tunnels == 0 {
            return Err(ApiMisuse::ZeroLimit("max_tunnels").into());
        }
        let max_tunnels = self.max_tunnels.min(Semaphore::MAX_PERMITS);
        let sides = SideService::new(self.settings, Binding::Hello.into(), self.random)?;
        Ok(ServerRelay {
            inner: Arc::new(Inner {
                target: self.target,
                path: self.path,
                sides: Arc::new(sides),
                idle: self.idle,
                max_tunnels,
                pipes: Pipes::new(self.pipes),
                preamble: self.preamble,
                tunnels: Arc::new(Semaphore::new(max_tunnels)),
            }),
        })
    }
}
