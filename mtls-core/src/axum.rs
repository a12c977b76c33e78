//! Multipath TLS for axum. Feature `axum`.
//!
//! [`MultipathListener`] is an [`axum::serve::Listener`]. Handlers extract the client's address and
//! the verdict as `ConnectInfo<MultipathConnectInfo>`. [`verdict_page`] shows the verdict to people,
//! [`VerdictLayer`](crate::tower::VerdictLayer) adds it to responses, and
//! [`RequireVerified`](crate::tower::RequireVerified) refuses requests without one.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::acceptor::MultipathListener;
use crate::page::{VERDICT_PATH, VerdictPage};
use crate::stream::ServerStream;

pub use crate::tower::MultipathConnectInfo;

/// `axum::serve` over multipath TLS (never mutual TLS).
///
/// Handshakes run concurrently within the listener's bounds, so a slow or silent client delays no
/// other. When axum shuts down gracefully it drops the listener: pending requests are answered, and
/// handshakes and side connections are closed.
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

impl<S> Connected<IncomingStream<'_, MultipathListener<S>>> for MultipathConnectInfo
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn connect_info(stream: IncomingStream<'_, MultipathListener<S>>) -> Self {
        Self::new(stream.io(), *stream.remote_addr())
    }
}

/// A router with the page about the verdict at [`VERDICT_PATH`]
/// (`/.multipath`), for browsers, terminals and programs: merge it into yours.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
///
/// let app: Router = Router::new().route("/", get(async || "hello")).merge(mtls_core::axum::verdict_page());
/// # let _ = app;
/// ```
pub fn verdict_page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route_service(VERDICT_PATH, VerdictPage)
}
