//! The relay in front of a client, which verifies in place of a connector of the client's own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, SecureRandom};

use super::pump::{DEFAULT_PIPES, Pipes};
use crate::error::{Error, non_zero_durations};
use crate::path::{Dial, Path};
use crate::proto::binding::Binding;
use crate::side::client::settings::{ClientPaths, ClientSettings};
use crate::tls::authentication::Authentication;

/// Verifies the TLS connections of clients that do not support the side protocol, with the hello
/// binding.
///
/// For each [`Tunnel`](super::Tunnel) it dials the target over the primary path, taps the hellos,
/// and **holds the server's flight back until the Proof checks**: a man in the middle gets a
/// ClientHello (two, if they send a HelloRetryRequest) and never an answer to their ServerHello.
/// Clones share the side connections.
pub struct ClientRelay<D = Path> {
    pub(super) inner: Arc<Inner<D>>,
}

pub(super) struct Inner<D> {
    pub(super) paths: ClientPaths<D>,
    pub(super) idle: Duration,
    pub(super) pipes: Pipes,
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
            .field("policy", &self.inner.paths.settings.policy)
            .field("side_endpoint", &self.inner.paths.settings.side_endpoint)
            .finish_non_exhaustive()
    }
}

impl<D: Dial> ClientRelay<D> {
    /// Starts a builder of a relay for clients. The relay takes random numbers from `provider`, and
    /// uses nothing else of it. A tunnel can have another policy than that of the settings.
    pub fn builder(
        provider: &CryptoProvider,
        settings: ClientSettings<D>,
    ) -> ClientRelayBuilder<D> {
        ClientRelayBuilder {
            random: provider.secure_random,
            settings,
            idle: Duration::from_secs(3600),
            pipes: DEFAULT_PIPES,
        }
    }
}

/// Builds a [`ClientRelay`].
///
/// ```
/// use std::time::Duration;
///
/// use mtls_core::relay::ClientRelay;
/// use mtls_core::{ClientSettings, Policy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = rustls::crypto::aws_lc_rs::default_provider();
/// let settings = ClientSettings::new(Policy::Require).side("socks5h://192.0.2.1:1080".parse()?);
/// let relay = ClientRelay::builder(&provider, settings)
///     .tunnel_idle_timeout(Duration::from_secs(600))
///     .build()?;
/// let tunnel = relay.tunnel("example.org:443".parse()?);
/// # let _ = tunnel;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ClientRelayBuilder<D = Path> {
    random: &'static dyn SecureRandom,
    settings: ClientSettings<D>,
    idle: Duration,
    pipes: usize,
}

impl<D: Dial> ClientRelayBuilder<D> {
    /// Sets the idle timeout of a tunnel: one in which neither end sends anything for this time closes
    /// before twice this time. Default: 1 h.
    pub fn tunnel_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets the number of pipes for bytes that pass through the kernel. Zero: all bytes are copied.
    /// Default: 256.
    ///
    /// Bulk data between two TCP sockets passes through a pipe instead of this process
    /// (`splice(2)`). A direction has a pipe only while its receiver has not taken all bytes that
    /// were read, so this limits the slow receivers with a pipe. A pipe holds at most 256 KiB, and
    /// takes two file descriptors. Directions without a pipe copy, 64 KiB at a time.
    pub fn max_pipes(mut self, pipes: usize) -> Self {
        self.pipes = pipes;
        self
    }

    /// Builds the relay.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for invalid settings: no side path, or a duration or limit of zero.
    pub fn build(self) -> Result<ClientRelay<D>, Error> {
        non_zero_durations(&[("tunnel_idle_timeout", self.idle)])?;
        let supported = Binding::Hello.into();
        let paths = ClientPaths::new(self.settings, supported, Authentication::Certificate)?;
        Ok(ClientRelay {
            inner: Arc::new(Inner {
                paths,
                idle: self.idle,
                pipes: Pipes::new(self.pipes),
                random: self.random,
            }),
        })
    }
}
