//! A server of tokio-rustls and hyper, as a program has it that does not know multipath TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mtls_core::http_io::HeadLimit;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::common::Site;

/// Listens with the certificate of the site.
pub(super) async fn serve(site: &Site) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config(site)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(connection(acceptor.clone(), tcp));
        }
    });
    address
}

/// As `serve` configures rustls.
fn config(site: &Site) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let leaf = &site.pki.server;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(leaf.chain_der(), leaf.key_der())
        .expect("an identity");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

async fn connection(acceptor: TlsAcceptor, tcp: TcpStream) {
    let _ = tcp.set_nodelay(true);
    let second = socket2::SockRef::from(&tcp)
        .try_clone()
        .expect("a descriptor");
    let second = TcpStream::from_std(second.into()).expect("a socket");
    respond_to(acceptor, tcp).await;
    linger(second).await;
}

/// Reads on for a while after the end: a socket that is closed with unread bytes resets the connection, and
/// the client may lose an alert or a GOAWAY.
async fn linger(mut tcp: TcpStream) {
    let _ = tcp.shutdown().await;
    let rest = async { while let Ok(1..) = tcp.read(&mut [0; 4096]).await {} };
    let _ = tokio::time::timeout(Duration::from_secs(20), rest).await;
}

async fn respond_to(acceptor: TlsAcceptor, tcp: TcpStream) {
    let Ok(stream) = acceptor.accept(tcp).await else {
        return;
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    let _ = match is_http2 {
        true => http2().serve_connection(io, service_fn(respond)).await,
        false => {
            let mut http1 = http1::Builder::new();
            http1
                .half_close(true)
                .max_header_size(HeadLimit::REQUEST.bytes());
            http1.serve_connection(io, service_fn(respond)).await
        }
    };
}

/// The limits of `serve`.
fn http2() -> http2::Builder<TokioExecutor> {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_send_buf_size(64 * 1024)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .max_header_list_size(HeadLimit::REQUEST.list_size());
    http2
}

/// The statuses of the site's files.
async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => (StatusCode::OK, "<p>the index"),
        (&Method::HEAD, "/") => (StatusCode::OK, ""),
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "no such file"),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD"),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}
