//! Takes connections in, many at a time and bounded: shared by the listeners of acceptors and of
//! relays.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::error::{Error, TimedOut};
use crate::slots::{Inserted, SlotId, SlotLimits, SlotTable};

/// How long to wait after the system could not accept, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub trait Incoming: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and where it comes from; safe to drop.
    ///
    /// # Errors
    /// What the system says; the listener pauses and goes on.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says; by default that there is no such address.
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

/// The bounds of a [`MultipathListener`](crate::MultipathListener). Zero counts as 1.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ListenerLimits {
    /// Connections that have not sent a complete ClientHello yet; the oldest makes room for a new
    /// one. Default: 16,384.
    pub silent: usize,
    /// The same for one peer: one IPv4 address, or one IPv6 /64. Default: 4,096.
    pub silent_per_peer: usize,
    /// Handshakes under way, from the complete ClientHello until the stream is given out. More wait
    /// their turn for as long as a handshake may take. Default: 1,024.
    pub handshakes: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            silent: 16_384,
            silent_per_peer: 4_096,
            handshakes: 1_024,
        }
    }
}

/// The bounds of those who have come in, and not yet got anywhere.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    silent: Mutex<SlotTable<AbortHandle>>,
    handshakes: Semaphore,
}

/// What an accept loop takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    TlsAndSide,
    SideOnly,
}

/// Serves what comes in.
pub(crate) trait ConnectionHandler<S>: Send + Sync + 'static {
    /// Serves a connection to its end. The silent place is to be given up when its first message
    /// is complete.
    fn handle(
        &self,
        stream: S,
        peer: SocketAddr,
        kind: ListenerKind,
        silent: SilentSlot,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A silent connection's place; given up on drop.
pub(crate) struct SilentSlot {
    limiter: Arc<ConnectionLimiter>,
    id: SlotId,
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
            handshakes: Semaphore::new(limits.handshakes.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// How many connections are silent.
    pub(crate) fn silent(&self) -> usize {
        self.lock().len()
    }

    /// One of the bounded turns to shake hands.
    pub(crate) async fn acquire_permit(
        &self,
        max_wait: Duration,
    ) -> Result<SemaphorePermit<'_>, Error> {
        match timeout(max_wait, self.handshakes.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Error::TimedOut(TimedOut::Busy)),
        }
    }

    /// Accepts until told to stop; then closes the listener, and completes when all that came in
    /// has ended. Dropping it ends them.
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
                    tracing::warn!(%error, "could not accept a connection");
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
        // The lock is held until the place is known, so that the task cannot leave it before.
        let mut silent = self.lock();
        let (place, told) = oneshot::channel();
        let handle = connections.spawn(async move {
            let Ok(id) = told.await else { return };
            let silent = SilentSlot { limiter, id };
            if let Err(error) = handler.handle(stream, peer, kind, silent).await {
                tracing::debug!(%peer, %error, "connection not served");
            }
        });
        let Some(Inserted { id, evicted }) = silent.insert(peer.ip(), false, handle) else {
            tracing::debug!(%peer, "too many silent connections of one peer");
            return;
        };
        if let Some((_, evicted)) = evicted {
            evicted.abort();
        }
        drop(silent);
        // The task has not begun, so it is there to be told.
        let _ = place.send(id);
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable<AbortHandle>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
