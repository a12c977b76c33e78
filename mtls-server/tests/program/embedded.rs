//! A service of another program on this server.

use std::future::{Ready, pending, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::common::{Site, client_config};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls_core::Policy;
use mtls_server::{HttpLimits, Identity, RequestBody, Server, ServerOptions};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

/// Fails for every request.
#[derive(Clone)]
struct Failing;

impl Service<Request<RequestBody>> for Failing {
    type Response = Response<Full<Bytes>>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<RequestBody>) -> Self::Future {
        ready(Err(io::Error::other("always")))
    }
}

async fn serve(site: &Site) -> SocketAddr {
    let identity = Identity::from_files(&site.pem("server.pem"), &site.pem("server.key"));
    let mut options = ServerOptions::new(identity.expect("an identity"), Policy::Prefer);
    options.listen = vec![([127, 0, 0, 1], 0).into()];
    let service = mtls_server::Site::new(Failing, &HttpLimits::default());
    let server = Server::bind(options, service).await.expect("a server");
    let address = server.local_addr();
    tokio::spawn(server.run(pending()));
    address
}

#[tokio::test]
async fn a_failed_service_gives_500_without_a_body_for_head_over_http_2() {
    let site = Site::new();
    let address = serve(&site).await;
    let mut config = (*client_config(&site.pki, None)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(address).await.expect("to connect");
    let name = "localhost".try_into().expect("a name");
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let io = TokioIo::new(tls.await.expect("TLS"));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    for (method, has_body) in [(Method::GET, true), (Method::HEAD, false)] {
        let request = Request::builder().method(method).uri("https://localhost/");
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.expect("a valid body");
        assert_eq!(!body.to_bytes().is_empty(), has_body);
    }
}
