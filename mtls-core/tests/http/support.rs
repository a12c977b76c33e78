//! Servers and clients of one PKI.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use http::Request;
use http::header::ACCEPT;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls_certs::Pki;
use mtls_core::axum::MultipathConnectInfo;
use mtls_core::hyper_client::{MultipathHttpsConnectorBuilder, WantsProtocols1, WantsSchemes};
use mtls_core::path::Path;
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathListener, Policy,
    SideServiceSettings,
};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// More than a verification takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) type Body = Empty<Bytes>;

pub(crate) fn pki() -> Pki {
    Pki::new(&["localhost", "127.0.0.1"]).expect("a pki")
}

pub(crate) fn client_config(pki: &Pki) -> ClientConfig {
    pki.client_config(aws_lc_rs::default_provider())
        .expect("a configuration")
}

pub(crate) fn server_config(leaf: &mtls_certs::Leaf, protocols: &[&str]) -> Arc<ServerConfig> {
    let config = leaf.server_config(aws_lc_rs::default_provider());
    let mut config = config.expect("a configuration");
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().into())
        .collect();
    Arc::new(config)
}

/// A builder of connectors with a side path from another loopback address.
pub(crate) fn schemes(pki: &Pki, policy: Policy) -> MultipathHttpsConnectorBuilder<WantsSchemes> {
    MultipathHttpsConnectorBuilder::new()
        .with_tls_config(client_config(pki))
        .with_settings(
            ClientSettings::new(policy)
                .deadline(LONG)
                .side(Path::source("127.0.0.2".parse().expect("an address")).expect("a path")),
        )
}

pub(crate) fn https(pki: &Pki, policy: Policy) -> MultipathHttpsConnectorBuilder<WantsProtocols1> {
    schemes(pki, policy).https_only()
}

pub(crate) fn client<C: Connect + Clone>(connector: C) -> Client<C, Body> {
    Client::builder(TokioExecutor::new()).build(connector)
}

pub(crate) async fn body(response: http::Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.expect("a body");
    String::from_utf8(bytes.to_bytes().to_vec()).expect("text")
}

pub(crate) async fn bind() -> (TcpListener, SocketAddr) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = tcp.local_addr().expect("an address");
    (tcp, address)
}

pub(crate) fn listener(
    tcp: TcpListener,
    config: Arc<ServerConfig>,
    policy: Policy,
) -> MultipathListener<TcpStream> {
    let settings = SideServiceSettings::new(policy).deadline(LONG);
    let acceptor = MultipathAcceptor::builder(config, settings)
        .build()
        .expect("an acceptor");
    MultipathListener::new(acceptor, tcp, ListenerLimits::default())
}

/// Answers `/` with the client's port and the server's verdict.
pub(crate) fn routes() -> Router {
    Router::new().route(
        "/",
        get(
            async |ConnectInfo(info): ConnectInfo<MultipathConnectInfo>| {
                let verdict = info.verdict().get();
                format!("{} {}", info.peer().port(), verdict.outcome.as_str())
            },
        ),
    )
}

/// A server with multipath TLS that speaks `protocols`.
pub(crate) async fn multipath_server(
    pki: &Pki,
    policy: Policy,
    protocols: &[&str],
    app: Router,
) -> SocketAddr {
    let (tcp, address) = bind().await;
    let listener = listener(tcp, server_config(&pki.server, protocols), policy);
    let app = app.into_make_service_with_connect_info::<MultipathConnectInfo>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A server that knows nothing of multipath TLS. Answers with the number of the connection, counted
/// from 0: a port says nothing, since the system gives it out again.
pub(crate) async fn plain_tls_server(pki: &Pki, protocols: &[&str]) -> SocketAddr {
    let (tcp, address) = bind().await;
    let acceptor = TlsAcceptor::from(server_config(&pki.server, protocols));
    tokio::spawn(async move {
        for number in 0_u64.. {
            let (stream, _) = tcp.accept().await.expect("a connection");
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A side connection's greeting is no TLS: the handshake fails, as it should.
                let Ok(tls) = acceptor.accept(stream).await else {
                    return;
                };
                let respond = hyper::service::service_fn(move |_| async move {
                    Ok::<_, std::convert::Infallible>(http::Response::new(number.to_string()))
                });
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(tls), respond).await;
            });
        }
    });
    address
}

/// A request over plain TLS: no side connection asks for the handshake.
pub(crate) async fn over_plain_tls(
    pki: &mtls_certs::Pki,
    address: SocketAddr,
    path: &str,
    accept: &str,
) -> http::Response<Incoming> {
    let tcp = TcpStream::connect(address).await.expect("a connection");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config(pki)));
    let name = "localhost".try_into().expect("a name");
    let tls = connector.connect(name, tcp).await.expect("TLS");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(tls))
            .await
            .expect("http");
    tokio::spawn(connection);
    let request = Request::get(path).header(ACCEPT, accept).body(Body::new());
    sender
        .send_request(request.expect("a request"))
        .await
        .expect("a response")
}
