//! The listener, which runs handshakes concurrently and bounded.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn::{Endpoint, Incoming};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::acceptor::QuicAcceptor;
use super::connection::QuicConnection;
use crate::accept::Handshakes;
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
    /// Handshakes under way, from the first packet until the connection is given out. As many more wait
    /// their turn for as long as a handshake may take: until another one is complete, or the oldest one
    /// has been under way for 2 s, which is then ended. Further ones are refused. Default: 4,096.
    pub handshakes: usize,
    /// The number of handshakes under way from which on a client must show that it receives at its address
    /// (Retry; RFC 9000, section 8.1.2), which takes a round trip. Default: 256.
    pub without_retry: usize,
}

impl Default for QuicListenerLimits {
    fn default() -> Self {
        Self {
            handshakes: 4_096,
            without_retry: 256,
        }
    }
}

/// Accepts QUIC connections, and gives out those that the policy lets pass. Dropping it ends what is under
/// way.
pub struct QuicListener {
    ready: mpsc::Receiver<Ready>,
    gate: Arc<Gate>,
    endpoint: Endpoint,
    _tasks: JoinSet<()>,
}

/// Admits new connections.
struct Gate {
    acceptor: QuicAcceptor,
    handshakes: Handshakes,
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
            handshakes: limits.handshakes.max(1),
            without_retry: limits.without_retry.max(1),
        };
        let gate = Arc::new(Gate {
            acceptor,
            handshakes: Handshakes::new(limits.handshakes),
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

    /// The number of handshakes under way, and of those that wait for their turn.
    pub fn handshakes(&self) -> usize {
        self.gate.handshakes.len()
    }
}

impl Gate {
    async fn accept_loop(self: Arc<Self>, endpoint: Endpoint) {
        let mut handshakes = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                incoming = endpoint.accept() => incoming,
                Some(_) = handshakes.join_next() => continue,
            };
            let Some(incoming) = incoming else { break };
            if let Some(incoming) = self.admit(incoming) {
                let (give, task) = oneshot::channel();
                let begun = handshakes.spawn(Arc::clone(&self).begin(incoming, task));
                // The task waits for it.
                let _ = give.send(begun);
            }
        }
        while handshakes.join_next().await.is_some() {}
    }

    /// Applies the limits to a new connection.
    fn admit(&self, incoming: Incoming) -> Option<Incoming> {
        let under_way = self.handshakes.len();
        if self.is_stopped.load(Ordering::Acquire) {
            incoming.refuse();
        } else if under_way >= self.limits.without_retry
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            let _ = incoming.retry();
        } else if under_way >= self.limits.handshakes.saturating_mul(2) {
            self.refuse(incoming, &Error::TimedOut(TimedOut::Busy));
        } else {
            return Some(incoming);
        }
        None
    }

    fn refuse(&self, incoming: Incoming, error: &Error) {
        self.acceptor.notify(&Event::Failed(error));
        incoming.refuse();
    }

    /// Waits for a place, then runs the handshake.
    async fn begin(self: Arc<Self>, incoming: Incoming, task: oneshot::Receiver<AbortHandle>) {
        let waiting = self.handshakes.begin(task.await.ok());
        let peer = incoming.remote_address();
        let permit = match waiting
            .acquire_permit(self.acceptor.handshake_timeout())
            .await
        {
            Ok(permit) => permit,
            Err(error) => return self.refuse(incoming, &error),
        };
        match Box::pin(self.acceptor.accept(incoming)).await {
            Ok(connection) => {
                // It waits for the application now, and its client can do nothing about that.
                let _permit = permit.complete();
                // Fails only after the listener was dropped.
                let _ = self.ready.send((connection, peer)).await;
            }
            Err(error) => tracing::debug!(%peer, %error, "connection not served"),
        }
    }
}
