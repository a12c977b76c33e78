//! Multipath TLS for axum. Feature `axum`.
//!
//! [`MultipathListener`] is an [`axum::serve::Listener`], and [`MultipathConnectInfo`] tells a
//! handler the client's address and the verdict.

use std::io;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::acceptor::MultipathListener;
use crate::stream::{ServerStream, VerdictHandle};

/// `axum::serve` over multipath TLS (never mutual TLS).
///
/// Handshakes run concurrently within the listener's bounds, so that a slow or silent client delays
/// nobody. When axum shuts down gracefully it drops the listener: requests under way are
/// answered, and what has not reached the application by then is closed, side connections too.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use axum::Router;
/// use axum::extract::ConnectInfo;
/// use axum::routing::get;
/// use mtls_core::axum::MultipathConnectInfo;
/// use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy};
/// use tokio::net::TcpListener;
///
/// # async fn serve(config: Arc<rustls::ServerConfig>) -> Result<(), Box<dyn std::error::Error>> {
/// let app = Router::new().route("/", get(async |ConnectInfo(info): ConnectInfo<MultipathConnectInfo>| {
///     format!("{}: {}\n", info.peer(), info.verdict().get().outcome.as_str())
/// }));
/// let acceptor = MultipathAcceptor::builder(config, Policy::Prefer).build()?;
/// let tcp = TcpListener::bind("[::]:443").await?;
/// let listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
/// axum::serve(listener, app.into_make_service_with_connect_info::<MultipathConnectInfo>()).await?;
/// # Ok(())
/// # }
/// ```
impl<S> Listener for MultipathListener<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Io = ServerStream<S>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ServerStream<S>, SocketAddr) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

/// Who is at the other end of a connection, and what was verified of it.
///
/// In a handler of axum it is `ConnectInfo<MultipathConnectInfo>`; a server of another make puts
/// it into the extensions of its requests.
#[derive(Clone, Debug)]
pub struct MultipathConnectInfo {
    peer: SocketAddr,
    verdict: VerdictHandle,
}

impl MultipathConnectInfo {
    /// What is known of a connection from `peer`.
    pub fn new<IO>(stream: &ServerStream<IO>, peer: SocketAddr) -> Self {
        Self {
            peer,
            verdict: stream.verdict_handle(),
        }
    }

    /// The address of the client.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The verdict, which may still become better while the connection is in use.
    pub fn verdict(&self) -> &VerdictHandle {
        &self.verdict
    }
}

impl<S> Connected<IncomingStream<'_, MultipathListener<S>>> for MultipathConnectInfo
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn connect_info(stream: IncomingStream<'_, MultipathListener<S>>) -> Self {
        Self::new(stream.io(), *stream.remote_addr())
    }
}
