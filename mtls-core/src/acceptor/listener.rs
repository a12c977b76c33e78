//! The listener, which runs handshakes concurrently and bounded.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{FirstMessage, MultipathAcceptor};
use crate::accept::{
    ConnectionHandler, ConnectionLimiter, Incoming, ListenerKind, ListenerLimits, SilentSlot,
};
use crate::error::{Error, InvalidMessage};
use crate::observer::Event;
use crate::stream::ServerStream;

/// A stream that waits to be accepted, and its peer.
type Ready<S> = (Box<ServerStream<S>>, SocketAddr);

/// The most streams that wait for the application.
const READY: usize = 64;

/// Accepts connections of which some are TLS and some are side connections, and gives out the
/// streams that the policy lets pass. Dropping it ends what is under way.
pub struct MultipathListener<S> {
    handler: Arc<Handler<S>>,
    local: io::Result<SocketAddr>,
    ready: mpsc::Receiver<Ready<S>>,
    tasks: JoinSet<()>,
    /// Its drop does not stop the accept loops; that of `tasks` does.
    stop: watch::Sender<bool>,
}

impl<S> fmt::Debug for MultipathListener<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultipathListener")
            .field("acceptor", &self.handler.acceptor)
            .field("limiter", &self.handler.limiter)
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
            handler: Arc::new(Handler {
                acceptor,
                limiter: Arc::new(ConnectionLimiter::new(limits)),
                ready: sender,
            }),
            local: incoming.local_addr(),
            ready,
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
        };
        listener.listen(incoming, ListenerKind::TlsAndSide);
        listener
    }

    /// Listens for side connections elsewhere too; TLS is refused there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn add_side(&mut self, incoming: impl Incoming<Stream = S>) {
        self.listen(incoming, ListenerKind::SideOnly);
    }

    /// The next stream that the policy accepts, and its peer; safe to drop. A connection that the
    /// policy refuses is logged (`tracing`, level debug), and never returned.
    pub async fn accept(&mut self) -> (ServerStream<S>, SocketAddr) {
        match self.ready.recv().await {
            Some((stream, peer)) => (*stream, peer),
            // The sender belongs to this very struct's handler.
            None => std::future::pending().await,
        }
    }

    /// The address on which it listens for TLS.
    ///
    /// # Errors
    /// If the address was unknown at the start.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.local {
            Ok(local) => Ok(*local),
            Err(error) => Err(error.kind().into()),
        }
    }

    /// The number of connections that have not sent a complete ClientHello yet.
    pub fn silent(&self) -> usize {
        self.handler.limiter.silent()
    }

    /// The number of handshakes under way: from the complete ClientHello until
    /// [`accept`](Self::accept) can return the stream.
    pub fn handshakes(&self) -> usize {
        self.handler.limiter.handshakes()
    }

    /// The number of verifications under way on side connections: from an Open, or the beginning of
    /// the side connection, until the Confirm.
    pub fn verifications(&self) -> usize {
        self.handler.acceptor.inner.sides.verifications()
    }

    fn listen(&mut self, incoming: impl Incoming<Stream = S>, kind: ListenerKind) {
        let handler = Arc::clone(&self.handler);
        let stop = self.stop.subscribe();
        let limiter = Arc::clone(&self.handler.limiter);
        self.tasks
            .spawn(limiter.accept_loop(incoming, kind, handler, stop));
    }
}

/// Completes handshakes, and queues their streams.
struct Handler<S> {
    acceptor: MultipathAcceptor,
    limiter: Arc<ConnectionLimiter>,
    ready: mpsc::Sender<Ready<S>>,
}

impl<S> ConnectionHandler<S> for Handler<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    async fn handle(
        &self,
        stream: S,
        peer: SocketAddr,
        kind: ListenerKind,
        silent: SilentSlot,
    ) -> Result<(), Error> {
        let acceptor = &self.acceptor;
        let failed = |error: &Error| acceptor.notify(&Event::Failed(error));
        match (acceptor.open(stream).await?, kind) {
            (FirstMessage::Side(io, received), _) => {
                let side = acceptor.side(io, peer, received);
                drop(silent);
                // On the heap, as the handshakes: the task of a silent connection stays small.
                Box::pin(side.run()).await
            }
            #[cfg(feature = "mptcp")]
            (FirstMessage::Inside(_), ListenerKind::SideOnly) => {
                Err(InvalidMessage::TlsOnSideListener.into()).inspect_err(failed)
            }
            (FirstMessage::Tls(_), ListenerKind::SideOnly) => {
                Err(InvalidMessage::TlsOnSideListener.into()).inspect_err(failed)
            }
            (FirstMessage::Tls(hello), ListenerKind::TlsAndSide) => {
                let handshake = Box::pin(acceptor.handshake(*hello, peer));
                self.complete(handshake, peer, silent).await
            }
            #[cfg(feature = "mptcp")]
            (FirstMessage::Inside(hello), ListenerKind::TlsAndSide) => {
                let handshake = Box::pin(acceptor.handshake_inside(*hello, peer));
                self.complete(handshake, peer, silent).await
            }
        }
    }
}

impl<S> Handler<S> {
    /// Completes a handshake when there is a permit for it, and queues its stream.
    async fn complete(
        &self,
        handshake: Pin<Box<impl Future<Output = Result<ServerStream<S>, Error>>>>,
        peer: SocketAddr,
        silent: SilentSlot,
    ) -> Result<(), Error> {
        let waiting = self.limiter.begin_handshake(silent);
        let max_wait = self.acceptor.inner.sides.settings.handshake_timeout;
        let permit = waiting.acquire_permit(max_wait).await;
        let permit = permit.inspect_err(|error| self.acceptor.notify(&Event::Failed(error)))?;
        let stream = Box::new(handshake.await?);
        // It waits for the application now, and its client can do nothing about that.
        let _permit = permit.complete();
        // Fails only after the listener was dropped.
        let _ = self.ready.send((stream, peer)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mtls_certs::Pki;
    use tokio::io::DuplexStream;

    use super::*;
    use crate::{Policy, SideServiceSettings};

    /// A flood holds many connections that send nothing: each of them is a task of this size.
    #[tokio::test]
    async fn the_task_of_a_silent_connection_is_small() {
        let pki = Pki::new(&["localhost"]).expect("a pki");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = Arc::new(pki.server_config(provider).expect("a configuration"));
        let acceptor = MultipathAcceptor::builder(config, SideServiceSettings::new(Policy::Prefer));
        let (ready, _) = mpsc::channel(READY);
        let limiter = Arc::new(ConnectionLimiter::new(ListenerLimits::default()));
        let handler = Handler::<DuplexStream> {
            acceptor: acceptor.build().expect("an acceptor"),
            limiter: Arc::clone(&limiter),
            ready,
        };
        let (stream, _client) = tokio::io::duplex(1);
        let peer = SocketAddr::from(([192, 0, 2, 1], 443));
        let silent = SilentSlot::idle(limiter);
        let task = handler.handle(stream, peer, ListenerKind::TlsAndSide, silent);
        assert!(size_of_val(&task) <= 1536, "{} bytes", size_of_val(&task));
    }
}
