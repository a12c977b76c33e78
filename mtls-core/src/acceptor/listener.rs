//! Many handshakes at a time: concurrent, bounded, and never in the way of one another.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::{MultipathAcceptor, Opening};
use crate::error::{Error, InvalidMessage, TimedOut};
use crate::places::{Entered, PlaceId, PlaceLimits, Places};
use crate::stream::ServerStream;

/// How long to wait after the system could not accept, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many verified streams may wait for the application.
const READY: usize = 64;

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

/// The bounds of a [`MultipathListener`]. Zero counts as 1.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// Connections that have not sent a complete ClientHello yet; the oldest makes room for a new
    /// one. Default: 16,384.
    pub silent: usize,
    /// The same for one peer: one IPv4 address, or one IPv6 /64. Default: 4,096.
    pub silent_per_peer: usize,
    /// Handshakes under way, from the complete ClientHello to the verdict. More wait their turn
    /// for as long as a handshake may take. Default: 1,024.
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

/// Accepts connections of which some are TLS and some are side connections, and gives out the
/// streams that the policy lets pass. Dropping it ends what is under way.
#[derive(Debug)]
pub struct MultipathListener<S> {
    shared: Arc<Shared>,
    local: io::Result<SocketAddr>,
    ready: mpsc::Receiver<(ServerStream<S>, SocketAddr)>,
    sender: mpsc::Sender<(ServerStream<S>, SocketAddr)>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    acceptor: MultipathAcceptor,
    silent: Mutex<Places<AbortHandle>>,
    handshakes: Semaphore,
}

/// What a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Both,
    SidesOnly,
}

impl<S> MultipathListener<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// Listens for TLS and side connections on one port.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        acceptor: MultipathAcceptor,
        incoming: impl Incoming<Stream = S>,
        limits: ListenerLimits,
    ) -> Self {
        let (sender, ready) = mpsc::channel(READY);
        let silent = Places::new(PlaceLimits {
            total: limits.silent.max(1),
            per_peer: limits.silent_per_peer.max(1),
        });
        let mut listener = Self {
            shared: Arc::new(Shared {
                acceptor,
                silent: Mutex::new(silent),
                handshakes: Semaphore::new(limits.handshakes.clamp(1, Semaphore::MAX_PERMITS)),
            }),
            local: incoming.local_addr(),
            ready,
            sender,
            tasks: JoinSet::new(),
        };
        listener.listen(incoming, Takes::Both);
        listener
    }

    /// Listens for side connections elsewhere too; TLS is refused there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn add_side(&mut self, incoming: impl Incoming<Stream = S>) {
        self.listen(incoming, Takes::SidesOnly);
    }

    /// The next stream that the policy lets pass, and its peer; safe to drop. What does not pass
    /// is logged (`tracing`, level debug), and never returned.
    pub async fn accept(&mut self) -> (ServerStream<S>, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The sender is a field of this very struct.
            None => std::future::pending().await,
        }
    }

    /// Where it listens for TLS.
    ///
    /// # Errors
    /// When that was not known at the start.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.local {
            Ok(local) => Ok(*local),
            Err(error) => Err(error.kind().into()),
        }
    }

    /// How many connections have not sent a complete ClientHello yet.
    pub fn silent(&self) -> usize {
        self.shared.lock_silent().len()
    }

    fn listen(&mut self, incoming: impl Incoming<Stream = S>, takes: Takes) {
        let shared = Arc::clone(&self.shared);
        let ready = self.sender.clone();
        self.tasks
            .spawn(accept_loop(shared, incoming, takes, ready));
    }
}

type Ready<S> = mpsc::Sender<(ServerStream<S>, SocketAddr)>;

async fn accept_loop<I: Incoming>(
    shared: Arc<Shared>,
    mut incoming: I,
    takes: Takes,
    ready: Ready<I::Stream>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = incoming.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = Connection {
            shared: Arc::clone(&shared),
            peer,
            takes,
            ready: ready.clone(),
        };
        // The lock is held until the place is known, so that the task cannot leave it before.
        let mut silent = shared.lock_silent();
        let (place, told) = tokio::sync::oneshot::channel();
        let handle = connections.spawn(async move {
            if let Ok(place) = told.await {
                connection.run(stream, place).await;
            }
        });
        let Some(Entered { id, evicted }) = silent.enter(peer.ip(), false, handle) else {
            tracing::debug!(%peer, "too many silent connections of one peer");
            continue;
        };
        if let Some((_, evicted)) = evicted {
            evicted.abort();
        }
        drop(silent);
        let _ = place.send(id);
    }
}

struct Connection<S> {
    shared: Arc<Shared>,
    peer: SocketAddr,
    takes: Takes,
    ready: Ready<S>,
}

impl<S> Connection<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    async fn run(self, stream: S, place: PlaceId) {
        let silent = SilentPlace {
            shared: Arc::clone(&self.shared),
            id: place,
        };
        if let Err(error) = self.serve(stream, silent).await {
            tracing::debug!(peer = %self.peer, %error, "connection not served");
        }
    }

    async fn serve(&self, stream: S, silent: SilentPlace) -> Result<(), Error> {
        let acceptor = &self.shared.acceptor;
        match (acceptor.open(stream).await?, self.takes) {
            (Opening::Side(io, received), _) => {
                drop(silent);
                acceptor.side(io, self.peer, received).run().await
            }
            (Opening::Tls(_), Takes::SidesOnly) => Err(InvalidMessage::TlsOnSideListener.into()),
            (Opening::Tls(hello), Takes::Both) => {
                drop(silent);
                let patience = acceptor.inner.settings.handshake_timeout;
                let turn = timeout(patience, self.shared.handshakes.acquire()).await;
                let Ok(Ok(_permit)) = turn else {
                    return Err(Error::TimedOut(TimedOut::Busy));
                };
                let stream = acceptor.handshake(*hello, self.peer).await?;
                // Nobody takes it when the listener is gone.
                let _ = self.ready.send((stream, self.peer)).await;
                Ok(())
            }
        }
    }
}

impl Shared {
    fn lock_silent(&self) -> std::sync::MutexGuard<'_, Places<AbortHandle>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A silent connection's place; given up on drop.
struct SilentPlace {
    shared: Arc<Shared>,
    id: PlaceId,
}

impl Drop for SilentPlace {
    fn drop(&mut self) {
        self.shared.lock_silent().leave(self.id);
    }
}
