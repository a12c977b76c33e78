//! A server of TLS connections.

use std::convert::Infallible;
use std::future::{Future, poll_fn, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mtls_core::{MultipathAcceptor, MultipathListener};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service;

use super::options::{Limits, ServerOptions};
use super::quic::{Channel, QuicListeners, QuicSockets};
use super::stop::{POLL, SILENT_GRACE, Stop, Stopping, VERIFICATION_GRACE};
use super::transports::AcceptedConnections;
use super::{Closed, Sockets, Transport};
use crate::error::Error;

/// A connection that the policy lets pass.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection {
    /// The connection, with its verdict.
    pub channel: Channel,
    /// The client's address.
    pub peer: SocketAddr,
    /// Completes when the server stops: then the connection should end soon.
    pub stopping: Stopping,
}

/// A server with bound sockets for TLS and side connections. The tower service `S`, such as
/// [`Site`](crate::Site), serves each [`Connection`] that the policy lets pass. Dropping the server
/// ends all of them.
#[derive(Debug)]
pub struct Server<S> {
    service: S,
    acceptor: MultipathAcceptor,
    sockets: Sockets,
    side_sockets: Sockets,
    quic: QuicSockets,
    limits: Limits,
    shares_registry: bool,
    open: OpenConnections,
    stop: Stop,
    /// Closes the side sockets with the server.
    _side_stop: Stop,
    stopping: Stopping,
}

/// The number of open connections of a server, from the end of the handshake. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections(Arc<AtomicUsize>);

impl OpenConnections {
    /// The current number.
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

/// The end of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Every connection had ended.
    All,
    /// This many were cut off when the time was over.
    CutOff(usize),
}

impl<S> Server<S> {
    /// Checks the options and binds every socket. Clients can connect from now on, and are served
    /// once [`run`](Self::run) is called.
    ///
    /// # Errors
    /// Invalid [`ServerOptions`]; then no socket stays bound.
    pub async fn bind(options: ServerOptions, service: S) -> Result<Self, Error> {
        let limits = options.limits;
        if limits.connections == 0 {
            return Err(Error::ZeroLimit("connections"));
        }
        let acceptor = options.acceptor()?;
        let inherited = &options.inherited;
        if options.listen.is_empty() && inherited.primary().is_empty() {
            return Err(Error::NoListener);
        }
        let transport = Transport::of(options.mptcp);
        let (stop, stopping) = Stop::new();
        let (side_stop, side_stopping) = Stop::new();
        let sockets = Sockets::open(
            &options.listen,
            inherited.primary(),
            transport,
            stopping.clone(),
        )?;
        let quic = match options.http3 {
            true => QuicSockets::bind(&acceptor, sockets.addresses())?,
            false => QuicSockets::default(),
        };
        let side = &options.side_listen;
        let side_sockets = Sockets::open(side, inherited.side(), Transport::Tcp, side_stopping)?;
        Ok(Self {
            service,
            acceptor,
            sockets: sockets.accept_proxy(&options.accept_proxy),
            side_sockets: side_sockets.accept_proxy(&options.accept_proxy),
            quic,
            limits,
            shares_registry: options.shares_registry,
            open: OpenConnections::default(),
            stop,
            _side_stop: side_stop,
            stopping,
        })
    }

    /// The acceptor of its connections: [`MultipathAcceptor::replace_config`] takes renewed
    /// certificates into use.
    pub fn acceptor(&self) -> &MultipathAcceptor {
        &self.acceptor
    }

    /// The number of open connections, which can be read while the server runs.
    pub fn open_connections(&self) -> OpenConnections {
        self.open.clone()
    }

    /// The number of connections that its addresses for TLS have accepted, which can be read while the
    /// server runs.
    pub fn accepted_connections(&self) -> AcceptedConnections {
        self.sockets.accepted()
    }

    /// The first address for TLS and side connections.
    pub fn local_addr(&self) -> SocketAddr {
        self.sockets.addresses()[0]
    }

    /// The addresses for TLS and side connections, with the ports that the system chose.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.sockets.addresses()
    }

    /// The UDP addresses for HTTP/3.
    pub fn http3_addrs(&self) -> &[SocketAddr] {
        self.quic.addresses()
    }

    /// The addresses for side connections only.
    pub fn side_addrs(&self) -> &[SocketAddr] {
        self.side_sockets.addresses()
    }
}

impl<S> Server<S>
where
    S: Service<Connection, Response = (), Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    /// Serves until `shutdown` is ready. Then it closes the sockets for TLS, and open connections
    /// and handshakes may end within [`Limits::shutdown_timeout`], as may the side connections that
    /// verify them. The sockets for side connections only are closed last.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let limits = self.limits.handshakes;
        let closed = self.sockets.closed();
        let mut listener = MultipathListener::new(self.acceptor, self.sockets, limits);
        if !self.side_sockets.addresses().is_empty() {
            listener.add_side(self.side_sockets);
        }
        let serving = Serving {
            listener,
            quic: self.quic.listen(self.limits.handshakes),
            closed,
            shares_registry: self.shares_registry,
            service: self.service,
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

/// A running server.
struct Serving<S> {
    listener: MultipathListener<TcpStream>,
    quic: QuicListeners,
    closed: Closed,
    shares_registry: bool,
    service: S,
    stopping: Stopping,
    permits: Arc<Semaphore>,
    connections: JoinSet<()>,
    open: OpenConnections,
}

impl<S> Serving<S>
where
    S: Service<Connection, Response = (), Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
        stop: Stop,
        grace: Duration,
    ) -> Drained {
        tokio::select! {
            () = shutdown => {}
            never = self.accept() => match never {},
        }
        stop.now();
        self.quic.stop();
        let drained = match timeout(grace, self.drain()).await {
            Ok(()) => Drained::All,
            Err(_) => Drained::CutOff(self.connections.len()),
        };
        self.connections.shutdown().await;
        self.quic.close().await;
        drained
    }

    /// Serves accepted connections. Cancel safe.
    async fn accept(&mut self) -> Infallible {
        loop {
            tokio::select! {
                accepted = next(&mut self.listener, &mut self.quic, &self.permits) => self.spawn(accepted),
                Some(ended) = self.connections.join_next() => log_panic(ended),
            }
        }
    }

    /// Waits for handshakes and connections to end, and serves those whose handshake is complete.
    /// Side connections stay open meanwhile: the client may still wait for their responses.
    async fn drain(&mut self) {
        let (silent_end, end) = (after(SILENT_GRACE), after(VERIFICATION_GRACE));
        loop {
            // Each step before the one that follows it, and the queue of streams last.
            let is_settled = self.closed.get()
                && (self.listener.silent() == 0 || Instant::now() > silent_end)
                && self.listener.handshakes() + self.quic.handshakes() == 0
                && (!self.verifies_for_others() || Instant::now() > end);
            tokio::select! {
                biased;
                accepted = next(&mut self.listener, &mut self.quic, &self.permits) => self.spawn(accepted),
                Some(ended) = self.connections.join_next() => log_panic(ended),
                () = ready(()), if is_settled && self.connections.is_empty() => return,
                () = sleep(POLL) => {}
            }
        }
    }

    fn verifies_for_others(&self) -> bool {
        self.shares_registry && self.listener.verifications() > 0
    }

    fn spawn(&mut self, accepted: Accepted) {
        let mut service = self.service.clone();
        let connection = Connection {
            channel: accepted.channel,
            peer: accepted.peer,
            stopping: self.stopping.clone(),
        };
        let open = self.open.enter();
        self.connections.spawn(async move {
            let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
            let Ok(()) = service.call(connection).await;
            drop(open);
            drop(accepted.permit);
        });
    }
}

/// A connection, and its permit to be served.
struct Accepted {
    channel: Channel,
    peer: SocketAddr,
    permit: Option<OwnedSemaphorePermit>,
}

/// The next connection, once there is a permit for it. Cancel safe.
async fn next(
    listener: &mut MultipathListener<TcpStream>,
    quic: &mut QuicListeners,
    permits: &Arc<Semaphore>,
) -> Accepted {
    // The semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    let (channel, peer) = tokio::select! {
        (stream, peer) = listener.accept() => (Channel::Tls(Box::new(stream)), peer),
        accepted = quic.accept() => accepted,
    };
    Accepted {
        channel,
        peer,
        permit,
    }
}

fn after(time: Duration) -> Instant {
    Instant::now() + time
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a connection panicked; the others continue");
    }
}
