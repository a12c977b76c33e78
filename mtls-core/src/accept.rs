//! Accepts connections concurrently and bounded, for the listeners of acceptors and of relays.

mod handshakes;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

pub(crate) use self::handshakes::{Handshakes, Waiting};
use crate::error::Error;
use crate::slots::{Inserted, SlotId, SlotLimits, SlotTable};
use crate::sync::lock;

/// The pause after a failed accept, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A source of connections.
///
/// ```
/// use std::io;
/// use std::net::SocketAddr;
///
/// use mtls_core::Incoming;
/// use tokio::net::{TcpListener, TcpStream};
///
/// /// A listener that refuses clients outside the local network.
/// struct Local(TcpListener);
///
/// impl Incoming for Local {
///     type Stream = TcpStream;
///
///     async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
///         loop {
///             let (stream, peer) = Incoming::accept(&mut self.0).await?;
///             if peer.ip().is_loopback() {
///                 return Ok((stream, peer));
///             }
///         }
///     }
/// }
/// ```
pub trait Incoming: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and its peer's address; safe to drop.
    ///
    /// # Errors
    /// The system's error; the listener pauses and continues.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// The address on which it listens.
    ///
    /// # Errors
    /// The system's error; by default `AddrNotAvailable`.
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::AddrNotAvailable.into())
    }
}

impl Incoming for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Without it the second flight of a handshake waits 40 ms for an acknowledgement.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

/// Limits of a [`MultipathListener`](crate::MultipathListener). Zero counts as 1.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ListenerLimits {
    /// Connections without a complete ClientHello; a new one evicts the oldest. Default: 16,384.
    pub silent: usize,
    /// Connections without a complete ClientHello of one peer: one IPv4 address, or one IPv6 /64.
    /// Default: 4,096.
    pub silent_per_peer: usize,
    /// Handshakes under way, from the complete ClientHello until the stream is given out. More wait
    /// their turn for as long as a handshake may take: until another one is complete, or the oldest
    /// one has been under way for 2 s, which is then ended. Default: 4,096.
    pub handshakes: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            silent: 16_384,
            silent_per_peer: 4_096,
            handshakes: 4_096,
        }
    }
}

/// Limits the connections without a complete ClientHello, and the handshakes under way.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    silent: Mutex<SlotTable<AbortHandle>>,
    handshakes: Handshakes,
}

/// The connections that an accept loop accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    TlsAndSide,
    SideOnly,
}

/// Handles accepted connections.
pub(crate) trait ConnectionHandler<S>: Send + Sync + 'static {
    /// Handles a connection to its end. Drop `silent` when its first message is complete.
    fn handle(
        &self,
        stream: S,
        peer: SocketAddr,
        kind: ListenerKind,
        silent: SilentSlot,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The slot of a connection without a complete ClientHello; released on drop.
pub(crate) struct SilentSlot {
    limiter: Arc<ConnectionLimiter>,
    id: SlotId,
}

#[cfg(test)]
impl SilentSlot {
    /// The slot of a connection whose task does nothing.
    pub(crate) fn idle(limiter: Arc<ConnectionLimiter>) -> Self {
        let task = tokio::spawn(async {}).abort_handle();
        let inserted = limiter.lock().insert([192, 0, 2, 1].into(), false, task);
        let id = inserted.expect("a slot").id;
        Self { limiter, id }
    }
}

impl Drop for SilentSlot {
    fn drop(&mut self) {
        self.limiter.lock().remove(self.id);
    }
}

impl ConnectionLimiter {
    pub(crate) fn new(limits: ListenerLimits) -> Self {
        let silent = SlotTable::new(SlotLimits {
            total: limits.silent.max(1),
            per_peer: limits.silent_per_peer.max(1),
        });
        Self {
            silent: Mutex::new(silent),
            handshakes: Handshakes::new(limits.handshakes),
        }
    }

    /// The number of connections without a complete ClientHello.
    pub(crate) fn silent(&self) -> usize {
        self.lock().len()
    }

    /// The number of handshakes under way, and of those that wait for a permit.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.len()
    }

    /// Turns a silent connection into a handshake, so that it counts as one of them at any time.
    pub(crate) fn begin_handshake(&self, silent: SilentSlot) -> Waiting<'_> {
        let waiting = self.handshakes.begin(self.lock().get(silent.id).cloned());
        drop(silent);
        waiting
    }

    /// Accepts until `stop`; then closes the listener, and completes when all its connections have
    /// ended. Dropping the future ends them.
    pub(crate) async fn accept_loop<I: Incoming, A: ConnectionHandler<I::Stream>>(
        self: Arc<Self>,
        mut incoming: I,
        kind: ListenerKind,
        handler: Arc<A>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = incoming.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                Ok(_) = stop.wait_for(|stopped| *stopped) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.spawn_handler(&mut connections, stream, peer, kind, &handler);
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(incoming);
        while connections.join_next().await.is_some() {}
    }

    fn spawn_handler<S: Send + 'static, A: ConnectionHandler<S>>(
        self: &Arc<Self>,
        connections: &mut JoinSet<()>,
        stream: S,
        peer: SocketAddr,
        kind: ListenerKind,
        handler: &Arc<A>,
    ) {
        let handler = Arc::clone(handler);
        let limiter = Arc::clone(self);
        // The lock is held until the id is known, so that the task cannot release the slot before.
        let mut silent = self.lock();
        let (send_id, slot_id) = oneshot::channel();
        let handle = connections.spawn(async move {
            let Ok(id) = slot_id.await else { return };
            let silent = SilentSlot { limiter, id };
            if let Err(error) = handler.handle(stream, peer, kind, silent).await {
                tracing::debug!(%peer, %error, "connection not served");
            }
        });
        let Some(Inserted { id, evicted }) = silent.insert(peer.ip(), false, handle) else {
            tracing::debug!(%peer, "too many connections of one peer without a ClientHello");
            return;
        };
        if let Some((_, evicted)) = evicted {
            evicted.abort();
        }
        drop(silent);
        // The task still waits for it.
        let _ = send_id.send(id);
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable<AbortHandle>> {
        lock(&self.silent)
    }
}
