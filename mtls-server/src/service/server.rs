//! A server of TLS connections that is bound, and runs until it is told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mtls_core::{MultipathAcceptor, MultipathListener, ServerStream};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::Sockets;
use super::options::{Limits, ServerOptions};
use super::program::Service;
use super::stop::{Stop, Stopping};
use crate::error::Error;

/// Serves connections, from the verdict to the end.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Serves one connection to its end. Called in a task of its own. Once
    /// [`Connection::stopping`] is ready, it should come to an end soon; it is cut off when the
    /// time is over.
    fn handle(&self, connection: Connection) -> impl Future<Output = ()> + Send;
}

/// A connection that the policy lets pass.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection {
    /// The TLS connection, with its verdict.
    pub stream: ServerStream<TcpStream>,
    /// The client's address.
    pub peer: SocketAddr,
    /// Tells that the server stops.
    pub stopping: Stopping,
}

/// A server whose sockets are bound: TLS and side connections come in, and `H` serves what the
/// policy lets pass. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Server<H> {
    handler: H,
    acceptor: MultipathAcceptor,
    sockets: Sockets,
    side_sockets: Sockets,
    limits: Limits,
    open: OpenConnections,
    stop: Stop,
    stopping: Stopping,
}

/// Counts the connections of a server that are open, the handshake done. Clones count the same.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections(Arc<AtomicUsize>);

impl OpenConnections {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self) -> OpenConnection {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.clone())
    }
}

/// One of them, until it is dropped.
struct OpenConnection(OpenConnections);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a service came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Every connection had ended.
    All,
    /// This many were cut off when the time was over.
    CutOff(usize),
}

impl<H: Handler> Server<H> {
    /// Checks the options and binds every socket. Clients can connect from now on, and are served
    /// once [`run`](Self::run) is called.
    ///
    /// # Errors
    /// Everything that can be wrong with [`ServerOptions`]; then no socket stays bound.
    pub async fn bind(options: ServerOptions, handler: H) -> Result<Self, Error> {
        let limits = options.limits;
        if limits.connections == 0 {
            return Err(Error::ZeroLimit("connections"));
        }
        let acceptor = options.acceptor()?;
        if options.listen.is_empty() {
            return Err(Error::NoListener);
        }
        let (stop, stopping) = Stop::new();
        Ok(Self {
            handler,
            acceptor,
            sockets: Sockets::bind(&options.listen, stopping.clone())?,
            side_sockets: Sockets::bind(&options.side_listen, stopping.clone())?,
            limits,
            open: OpenConnections::default(),
            stop,
            stopping,
        })
    }

    /// What accepts its connections: [`MultipathAcceptor::replace_config`] takes renewed
    /// certificates into use.
    pub fn acceptor(&self) -> &MultipathAcceptor {
        &self.acceptor
    }

    /// How many connections are open, while it runs too.
    pub fn open_connections(&self) -> OpenConnections {
        self.open.clone()
    }

    /// The first address for TLS and side connections.
    pub fn local_addr(&self) -> SocketAddr {
        self.sockets.addresses()[0]
    }

    /// The addresses for TLS and side connections, with the ports that the system chose.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.sockets.addresses()
    }

    /// The addresses for side connections only.
    pub fn side_addrs(&self) -> &[SocketAddr] {
        self.side_sockets.addresses()
    }

    /// Serves until `shutdown` is ready. Then the sockets are closed, and connections that are
    /// open may end within [`Limits::shutdown_timeout`]. Handshakes that are still under way when
    /// the last of them has ended are given up.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let limits = self.limits.handshakes;
        let mut listener = MultipathListener::new(self.acceptor, self.sockets, limits);
        if !self.side_sockets.addresses().is_empty() {
            listener.add_side(self.side_sockets);
        }
        let serving = Serving {
            listener,
            handler: self.handler,
            stopping: self.stopping,
            permits: Arc::new(Semaphore::new(
                self.limits.connections.min(Semaphore::MAX_PERMITS),
            )),
            connections: JoinSet::new(),
            open: self.open,
        };
        serving
            .run(shutdown, self.stop, self.limits.shutdown_timeout)
            .await
    }
}

impl<H: Handler> Service for Server<H> {
    async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        Self::run(self, shutdown).await
    }
}

/// A server that serves.
struct Serving<H> {
    listener: MultipathListener<TcpStream>,
    handler: H,
    stopping: Stopping,
    permits: Arc<Semaphore>,
    connections: JoinSet<()>,
    open: OpenConnections,
}

impl<H: Handler> Serving<H> {
    async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
        stop: Stop,
        patience: Duration,
    ) -> Drained {
        tokio::select! {
            () = shutdown => {}
            never = self.accept() => match never {},
        }
        stop.now();
        match timeout(patience, self.drain()).await {
            Ok(()) => Drained::All,
            Err(_) => Drained::CutOff(self.connections.len()),
        }
    }

    /// Serves what the listener gives; safe to drop.
    async fn accept(&mut self) -> Infallible {
        loop {
            tokio::select! {
                arrived = next(&mut self.listener, &self.permits) => self.spawn(arrived),
                Some(ended) = self.connections.join_next() => note(ended),
            }
        }
    }

    /// Waits for the connections to end, and serves those whose handshake was already done. Side
    /// connections stay meanwhile: the client may still wait for their answers.
    async fn drain(&mut self) {
        loop {
            tokio::select! {
                biased;
                arrived = next(&mut self.listener, &self.permits) => self.spawn(arrived),
                ended = self.connections.join_next() => match ended {
                    Some(ended) => note(ended),
                    None => return,
                },
            }
        }
    }

    fn spawn(&mut self, arrived: Arrived) {
        let handler = self.handler.clone();
        let connection = Connection {
            stream: arrived.stream,
            peer: arrived.peer,
            stopping: self.stopping.clone(),
        };
        let open = self.open.enter();
        self.connections.spawn(async move {
            handler.handle(connection).await;
            drop(open);
            drop(arrived.permit);
        });
    }
}

/// A connection that may be served, and its place.
struct Arrived {
    stream: ServerStream<TcpStream>,
    peer: SocketAddr,
    permit: Option<OwnedSemaphorePermit>,
}

/// The next connection, once there is a place for it; safe to drop.
async fn next(listener: &mut MultipathListener<TcpStream>, permits: &Arc<Semaphore>) -> Arrived {
    // An error would say that the semaphore was closed; nobody closes it.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    let (stream, peer) = listener.accept().await;
    Arrived {
        stream,
        peer,
        permit,
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed; the others go on");
    }
}
