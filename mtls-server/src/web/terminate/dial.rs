//! Connections to the target.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use hyper::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use mtls_core::http_io::{KeepReading, MergeData};
use mtls_core::tls_error_message;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::answered::Answered;
use crate::target::{Target, Via};
use crate::tls::provider;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Connects to the target, whatever the host of a request.
#[derive(Clone)]
pub(super) struct Dialer {
    tcp: HttpConnector<Resolver>,
    via: DialVia,
    http2: bool,
    timeout: Duration,
}

#[derive(Clone)]
enum DialVia {
    Tcp,
    Tls(TlsConnector, ServerName<'static>),
    Unix(Arc<std::path::Path>),
}

/// The reason why the target was not reached.
#[derive(Debug)]
pub(super) enum DialError {
    TimedOut(Duration),
    Failed(BoxError),
}

impl Dialer {
    /// With `private`, a name such as `localhost` resolves to addresses of this machine only.
    pub(super) fn new(
        target: &Target,
        roots: RootCertStore,
        private: bool,
        limit: Duration,
    ) -> Result<Self, rustls::Error> {
        let only_loopback = private && target.is_localhost();
        let mut tcp = HttpConnector::new_with_resolver(Resolver {
            system: GaiResolver::new(),
            only_loopback,
        });
        tcp.set_nodelay(true);
        Ok(Self {
            tcp,
            via: match &target.via {
                Via::Tcp { .. } => DialVia::Tcp,
                Via::Tls(name) => DialVia::Tls(tls_connector(roots)?, name.clone()),
                Via::Unix(path) => DialVia::Unix(path.as_path().into()),
            },
            http2: target.http2(),
            timeout: limit,
        })
    }

    /// The same for HTTP/1.1, whatever the protocol of the target.
    pub(super) fn http1(&self) -> Self {
        Self {
            http2: false,
            ..self.clone()
        }
    }

    async fn dial(mut self, uri: Uri) -> Result<Link, BoxError> {
        if let DialVia::Unix(path) = &self.via {
            return Ok(Link::new(UnixStream::connect(path).await?, self.http2));
        }
        let tcp = self.tcp.call(uri).await?.into_inner();
        Ok(match self.via {
            DialVia::Tls(connector, name) => {
                Link::new(connector.connect(name, tcp).await?, self.http2)
            }
            _ => Link::new(tcp, self.http2),
        })
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Link>;
    type Error = DialError;
    type Future = BoxFuture<Result<TokioIo<Link>, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let limit = dialer.timeout;
            match timeout(limit, dialer.dial(uri)).await {
                Ok(dialed) => dialed.map(TokioIo::new).map_err(DialError::Failed),
                Err(_) => Err(DialError::TimedOut(limit)),
            }
        })
    }
}

fn tls_connector(roots: RootCertStore) -> Result<TlsConnector, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(limit) => write!(f, "no connection within {limit:?}"),
            Self::Failed(error) => f.write_str(&root_cause(&**error)),
        }
    }
}

impl std::error::Error for DialError {}

/// The text of the innermost cause.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let tls = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    tls.map_or_else(|| cause.to_string(), tls_error_message)
}

/// The system's resolver.
#[derive(Clone)]
struct Resolver {
    system: GaiResolver,
    only_loopback: bool,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<io::Result<vec::IntoIter<SocketAddr>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.system.call(name);
        let only_loopback = self.only_loopback;
        Box::pin(async move {
            let fit = |address: &SocketAddr| !only_loopback || address.ip().is_loopback();
            let addresses: Vec<_> = resolving.await?.filter(fit).collect();
            match addresses.is_empty() {
                true => Err(io::Error::other("the name has no address of this machine")),
                false => Ok(addresses.into_iter()),
            }
        })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// A connection to the target.
pub(super) struct Link {
    stream: Pin<Box<dyn Duplex>>,
    answered: Answered,
}

impl Link {
    fn new(stream: impl Duplex + Unpin + 'static, http2: bool) -> Self {
        let (stream, _) = KeepReading::new(stream);
        let stream = match http2 {
            true => MergeData::client(stream),
            false => MergeData::unchanged(stream),
        };
        Self {
            stream: Box::pin(stream),
            answered: Answered::default(),
        }
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.answered.clone())
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}
