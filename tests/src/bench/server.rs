//! A server with a listener for plain and one for multipath TLS, on its own thread.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use mtls_certs::Pki;
use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy, ServerStream};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::worker::{Worker, bind};
use crate::{Result, tls};

/// Serves the connections of both listeners.
pub(super) trait Serve: 'static {
    /// Serves a connection by tokio-rustls.
    fn plain(stream: TlsStream<TcpStream>) -> impl Future<Output = io::Result<()>> + Send;

    /// Serves a verified connection.
    fn multipath(stream: ServerStream<TcpStream>) -> impl Future<Output = io::Result<()>> + Send;
}

/// Two listeners; they end when this is dropped.
pub(super) struct Server {
    addresses: Addresses,
    _worker: Worker,
}

/// The addresses of the listeners.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    /// tokio-rustls.
    pub(super) plain: SocketAddr,
    /// The same, verified.
    pub(super) multipath: SocketAddr,
}

impl Server {
    /// A server of full handshakes.
    pub(super) fn start<S: Serve>(pki: &Pki) -> Result<Self> {
        let config = Arc::new(tls::server_config(&pki.server, tls::provider())?);
        let acceptor = MultipathAcceptor::builder(Arc::clone(&config), Policy::Require);
        Self::with::<S>(config, acceptor.build()?)
    }

    /// A server of resumed handshakes, which inherit their verification.
    pub(super) fn resuming<S: Serve>(pki: &Pki, max_age: Duration) -> Result<Self> {
        let config = tls::resuming_server_config(&pki.server, tls::provider())?;
        let config = Arc::new(config);
        let acceptor = MultipathAcceptor::builder(Arc::clone(&config), Policy::Require);
        Self::with::<S>(config, acceptor.inherit(max_age).build()?)
    }

    fn with<S: Serve>(config: Arc<ServerConfig>, acceptor: MultipathAcceptor) -> Result<Self> {
        let (plain, multipath) = (bind()?, bind()?);
        let addresses = Addresses {
            plain: plain.local_addr()?,
            multipath: multipath.local_addr()?,
        };
        let worker = Worker::start("server", move || async move {
            tokio::select! {
                done = serve_plain::<S>(plain, config) => done,
                done = serve_multipath::<S>(multipath, acceptor) => done,
            }
        })?;
        Ok(Self {
            addresses,
            _worker: worker,
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }
}

async fn serve_plain<S: Serve>(listener: StdTcpListener, config: Arc<ServerConfig>) -> Result {
    let listener = TcpListener::from_std(listener)?;
    let acceptor = TlsAcceptor::from(config);
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            S::plain(acceptor.accept(tcp).await?).await
        });
    }
}

async fn serve_multipath<S: Serve>(
    listener: StdTcpListener,
    acceptor: MultipathAcceptor,
) -> Result {
    let listener = TcpListener::from_std(listener)?;
    let mut listener = MultipathListener::new(acceptor, listener, ListenerLimits::default());
    loop {
        let (stream, _) = listener.accept().await;
        tokio::spawn(S::multipath(stream));
    }
}
