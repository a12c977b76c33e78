//! Many handshakes at a time: concurrent, bounded, and never in the way of one another.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{MultipathAcceptor, Opening};
use crate::accept::{Attendant, Door, Incoming, ListenerLimits, SilentPlace, Takes};
use crate::error::{Error, InvalidMessage};
use crate::observer::Event;
use crate::stream::ServerStream;

/// How many verified streams may wait for the application.
const READY: usize = 64;

/// Accepts connections of which some are TLS and some are side connections, and gives out the
/// streams that the policy lets pass. Dropping it ends what is under way.
pub struct MultipathListener<S> {
    host: Arc<Host<S>>,
    local: io::Result<SocketAddr>,
    ready: mpsc::Receiver<(ServerStream<S>, SocketAddr)>,
    tasks: JoinSet<()>,
    /// Its drop does not stop the accept loops; that of `tasks` does.
    stop: watch::Sender<bool>,
}

impl<S> fmt::Debug for MultipathListener<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultipathListener")
            .field("acceptor", &self.host.acceptor)
            .field("door", &self.host.door)
            .finish_non_exhaustive()
    }
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
        let mut listener = Self {
            host: Arc::new(Host {
                acceptor,
                door: Arc::new(Door::new(limits)),
                ready: sender,
            }),
            local: incoming.local_addr(),
            ready,
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
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
            // The sender belongs to this very struct's host.
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
        self.host.door.silent()
    }

    fn listen(&mut self, incoming: impl Incoming<Stream = S>, takes: Takes) {
        let host = Arc::clone(&self.host);
        let stop = self.stop.subscribe();
        let door = Arc::clone(&self.host.door);
        self.tasks
            .spawn(door.accept_loop(incoming, takes, host, stop));
    }
}

/// Shakes hands, and hands the streams out.
struct Host<S> {
    acceptor: MultipathAcceptor,
    door: Arc<Door>,
    ready: mpsc::Sender<(ServerStream<S>, SocketAddr)>,
}

impl<S> Attendant<S> for Host<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    async fn attend(
        &self,
        stream: S,
        peer: SocketAddr,
        takes: Takes,
        silent: SilentPlace,
    ) -> Result<(), Error> {
        let acceptor = &self.acceptor;
        let failed = |error: &Error| acceptor.tell(&Event::Failed(error));
        match (acceptor.open(stream).await?, takes) {
            (Opening::Side(io, received), _) => {
                drop(silent);
                acceptor.side(io, peer, received).run().await
            }
            (Opening::Tls(_), Takes::SidesOnly) => {
                Err(InvalidMessage::TlsOnSideListener.into()).inspect_err(failed)
            }
            (Opening::Tls(hello), Takes::Both) => {
                drop(silent);
                let patience = acceptor.inner.settings.handshake_timeout;
                let _turn = self.door.turn(patience).await.inspect_err(failed)?;
                let stream = acceptor.handshake(*hello, peer).await?;
                // Nobody takes it when the listener is gone.
                let _ = self.ready.send((stream, peer)).await;
                Ok(())
            }
        }
    }
}
