//! The listener, which runs handshakes concurrently and bounded.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn::{Endpoint, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::acceptor::QuicAcceptor;
use super::connection::QuicConnection;
use crate::error::{Error, TimedOut};
use crate::observer::Event;

/// The most connections that wait for the application.
const READY: usize = 64;

/// A connection that waits to be accepted, and its peer.
type Ready = (QuicConnection, SocketAddr);

/// Limits of a [`QuicListener`]. Zero counts as 1.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QuicListenerLimits {
    /// Handshakes under way, from the first packet until the connection is given out. More are refused.
    /// Default: 1,024.
    pub handshakes: usize,
    /// The number of handshakes under way from which on a client must show that it receives at its address
    /// (Retry; RFC 9000, section 8.1.2), which takes a round trip. Default: 256.
    pub without_retry: usize,
}

impl Default for QuicListenerLimits {
    fn default() -> Self {
        Self {
            handshakes: 1_024,
            without_retry: 256,
        }
    }
}

/// Accepts QUIC connections, and gives out those that the policy lets pass. Dropping it ends what is under
/// way.
pub struct QuicListener {
    ready: mpsc::Receiver<Ready>,
    gate: Arc<Handshakes>,
    endpoint: Endpoint,
    _tasks: JoinSet<()>,
}

/// The handshakes under way.
struct Handshakes {
    acceptor: QuicAcceptor,
    permits: Arc<Semaphore>,
    limits: QuicListenerLimits,
    ready: mpsc::Sender<Ready>,
    is_stopped: AtomicBool,
}

impl fmt::Debug for QuicListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicListener")
            .field("endpoint", &self.endpoint)
            .field("handshakes", &self.handshakes())
            .finish_non_exhaustive()
    }
}

impl QuicListener {
    /// Accepts the connections of an endpoint, which should be one of
    /// [`QuicAcceptor::endpoint`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(acceptor: QuicAcceptor, endpoint: Endpoint, limits: QuicListenerLimits) -> Self {
        let (sender, ready) = mpsc::channel(READY);
        let limits = QuicListenerLimits {
            handshakes: limits.handshakes.clamp(1, Semaphore::MAX_PERMITS),
            without_retry: limits.without_retry.max(1),
        };
        let gate = Arc::new(Handshakes {
            acceptor,
            permits: Arc::new(Semaphore::new(limits.handshakes)),
            limits,
            ready: sender,
            is_stopped: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&gate).accept_loop(endpoint.clone()));
        Self {
            ready,
            gate,
            endpoint,
            _tasks: tasks,
        }
    }

    /// The next connection that the policy accepts, and its peer; safe to drop. A connection that the
    /// policy refuses is logged (`tracing`, level debug), and never returned. After the endpoint was
    /// closed this waits forever.
    pub async fn accept(&mut self) -> (QuicConnection, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The sender belongs to this very struct.
            None => std::future::pending().await,
        }
    }

    /// Refuses new connections from now on. Those under way are completed, and given out.
    pub fn stop(&self) {
        self.gate.is_stopped.store(true, Ordering::Release);
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The number of handshakes under way.
    pub fn handshakes(&self) -> usize {
        self.gate.under_way()
    }
}

impl Handshakes {
    fn under_way(&self) -> usize {
        self.limits.handshakes - self.permits.available_permits()
    }

    async fn accept_loop(self: Arc<Self>, endpoint: Endpoint) {
        let mut handshakes = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                incoming = endpoint.accept() => incoming,
                Some(_) = handshakes.join_next() => continue,
            };
            let Some(incoming) = incoming else { break };
            if let Some((incoming, permit)) = self.admit(incoming) {
                handshakes.spawn(Arc::clone(&self).handshake(incoming, permit));
            }
        }
        while handshakes.join_next().await.is_some() {}
    }

    /// Applies the limits to a new connection.
    fn admit(&self, incoming: Incoming) -> Option<(Incoming, OwnedSemaphorePermit)> {
        if self.is_stopped.load(Ordering::Acquire) {
            incoming.refuse();
            return None;
        }
        if self.under_way() >= self.limits.without_retry
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            let _ = incoming.retry();
            return None;
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let error = Error::TimedOut(TimedOut::Busy);
            self.acceptor.notify(&Event::Failed(&error));
            incoming.refuse();
            return None;
        };
        Some((incoming, permit))
    }

    async fn handshake(self: Arc<Self>, incoming: Incoming, permit: OwnedSemaphorePermit) {
        let peer = incoming.remote_address();
        match Box::pin(self.acceptor.accept(incoming)).await {
            // Fails only after the listener was dropped.
            Ok(connection) => drop(self.ready.send((connection, peer)).await),
            Err(error) => tracing::debug!(%peer, %error, "connection not served"),
        }
        drop(permit);
    }
}
