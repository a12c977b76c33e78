//! The relay in front of a client: it stands in for the client's own connector.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, SecureRandom};

use super::pump::{DEFAULT_PIPES, Pipes};
use crate::error::{Error, non_zero_durations};
use crate::path::{Dial, Path};
use crate::proto::binding::Binding;
use crate::side::client::config::{ClientPaths, ClientPathsBuilder, client_paths_setters};
use crate::verdict::policy::Policy;

/// Verifies the TLS connections of clients that know nothing of it, with the hello binding.
///
/// For each [`Tunnel`](super::Tunnel) it dials the target over the primary path, taps the hellos, and **holds the
/// server's flight back until the proof checks**: a man in the middle gets a ClientHello (two, if
/// he sends a HelloRetryRequest) and never an answer to his ServerHello. Clones share the side
/// connections.
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
            .field("settings", &self.inner.paths.settings)
            .field("side_endpoint", &self.inner.paths.side_endpoint)
            .finish_non_exhaustive()
    }
}

impl ClientRelay<Path> {
    /// Starts a builder of a relay for clients. The relay takes its random numbers from `provider`,
    /// and needs no other cryptography of it. The policy has no default; a tunnel can have one of
    /// its own.
    pub fn builder(provider: &CryptoProvider, policy: Policy) -> ClientRelayBuilder<Path> {
        ClientRelayBuilder::new(provider.secure_random, policy, Path::system())
    }
}

/// Builds a [`ClientRelay`].
#[derive(Debug)]
#[must_use]
pub struct ClientRelayBuilder<D> {
    random: &'static dyn SecureRandom,
    paths: ClientPathsBuilder<D>,
    idle: Duration,
    pipes: usize,
}

impl<D: Dial> ClientRelayBuilder<D> {
    fn new(random: &'static dyn SecureRandom, policy: Policy, primary: D) -> Self {
        Self {
            random,
            paths: ClientPathsBuilder::new(policy, Binding::Hello, primary),
            idle: Duration::from_secs(3600),
            pipes: DEFAULT_PIPES,
        }
    }

    /// Dials another way: every path of the relay, as a simulated network does. Sides that were
    /// added before are dropped.
    pub fn primary_with<E: Dial>(self, primary: E) -> ClientRelayBuilder<E> {
        ClientRelayBuilder {
            random: self.random,
            paths: self.paths.primary_with(primary),
            idle: self.idle,
            pipes: self.pipes,
        }
    }

    client_paths_setters!();

    /// How long the client may take for its ClientHello, and then the server for its ServerHello.
    /// Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.paths.settings.handshake_timeout = timeout;
        self
    }

    /// How long a tunnel in which neither end sends anything stays open, at least; at most twice
    /// as long. Default: 1 h.
    pub fn tunnel_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// How many pipes there may be, for bytes that pass through the kernel. Default: 256.
    ///
    /// On Linux, bulk data goes from socket to socket by way of a pipe and not through this
    /// process (`splice(2)`), where both are TCP. A direction has a pipe only while its receiver
    /// has not taken all that was read, so that is how many slow receivers can have one; a pipe
    /// holds at most 256 KiB, and takes two file descriptors. What finds no pipe is copied, 64 KiB
    /// at a time. Zero: everything is copied.
    pub fn max_pipes(mut self, pipes: usize) -> Self {
        self.pipes = pipes;
        self
    }

    /// Builds the relay.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for settings that cannot be.
    pub fn build(self) -> Result<ClientRelay<D>, Error> {
        non_zero_durations(&[("tunnel_idle_timeout", self.idle)])?;
        Ok(ClientRelay {
            inner: Arc::new(Inner {
                paths: self.paths.build()?,
                idle: self.idle,
                pipes: Pipes::new(self.pipes),
                random: self.random,
            }),
        })
    }
}
