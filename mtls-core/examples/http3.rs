//! HTTP/3 (h3) over multipath QUIC: an axum router and a client, both ends in one process.
//!
//! ```text
//! cargo run -p mtls-core --features axum,quic --example http3
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use h3::server::{RequestResolver, RequestStream};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Buf;
use mtls_certs::Pki;
use mtls_core::http_io::{CheckFrames, CheckedBidiStream};
use mtls_core::path::{Endpoint, Path};
use mtls_core::quic::{QuicAcceptor, QuicConnection, QuicConnector, QuicListener};
use mtls_core::tower::{MultipathConnectInfo, VerdictLayer};
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathConnector, MultipathListener,
    Policy,
};
use tokio::net::TcpListener;
use tower::ServiceExt;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The longest body of a request.
const MAX_BODY: usize = 64 * 1024;
const MAX_HEAD: u64 = 64 * 1024;

/// A router whose responses have the field `Multipath-Verdict`.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/", get(async || "hello over HTTP/3"))
        .route("/echo", axum::routing::post(async |body: Bytes| body))
        .layer(VerdictLayer)
}

/// Serves a router, or any other tower service, on each connection that the policy lets pass.
pub(crate) async fn serve(mut listener: QuicListener, app: Router) {
    loop {
        let (connection, peer) = listener.accept().await;
        let app = app.clone();
        tokio::spawn(async move {
            if let Err(error) = serve_connection(connection, peer, app).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn serve_connection(
    connection: QuicConnection,
    peer: SocketAddr,
    app: Router,
) -> Result<(), Error> {
    // No HTTP/3 before the verdict.
    let connection = connection.wait_for_verdict().await?;
    let info = MultipathConnectInfo::from_parts(connection.verdict_handle(), peer, None);
    let quic = CheckFrames::new(connection.into_inner(), MAX_HEAD);
    let mut http3 = h3::server::Connection::<_, Bytes>::new(quic).await?;
    while let Some(resolver) = http3.accept().await? {
        tokio::spawn(respond(resolver, app.clone(), info.clone()));
    }
    Ok(())
}

async fn respond(
    resolver: RequestResolver<CheckFrames, Bytes>,
    app: Router,
    info: MultipathConnectInfo,
) -> Result<(), Error> {
    let (request, mut stream) = resolver.resolve_request().await?;
    let body = read(&mut stream).await?;
    let mut request = request.map(|()| Body::from(body));
    request.extensions_mut().insert(info);
    let response = app.oneshot(request).await?;
    let (head, mut body) = response.into_parts();
    stream.send_response(Response::from_parts(head, ())).await?;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            stream.send_data(data).await?;
        }
    }
    Ok(stream.finish().await?)
}

async fn read(stream: &mut RequestStream<CheckedBidiStream, Bytes>) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        if body.len() + data.remaining() > MAX_BODY {
            return Err("the request body is too long".into());
        }
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    Ok(body)
}

/// Sends one request over a verified connection, and returns the response with its body.
pub(crate) async fn fetch(
    connection: QuicConnection,
    request: Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Error> {
    let quic = CheckFrames::new(connection.into_inner(), MAX_HEAD);
    let (mut driver, mut requests) = h3::client::new(quic).await?;
    let driver = tokio::spawn(async move { driver.wait_idle().await });
    let (head, body) = request.into_parts();
    let mut stream = requests.send_request(Request::from_parts(head, ())).await?;
    if !body.is_empty() {
        stream.send_data(Bytes::from(body)).await?;
    }
    stream.finish().await?;
    let response = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    // The connection ends with the last handle to its requests.
    drop(requests);
    let _ = driver.await;
    Ok(response.map(|()| body))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = Arc::new(pki.server_config(Arc::clone(&provider))?);
    let client = Arc::new(pki.ca.client_config(provider)?);

    // Side connections arrive on the TCP port of the same number.
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let address = tcp.local_addr()?;
    let acceptor = MultipathAcceptor::builder(server, Policy::Require).build()?;
    let quic = QuicAcceptor::builder(&acceptor).alpn(&[b"h3"]).build()?;
    let endpoint = quic.endpoint(std::net::UdpSocket::bind(address)?)?;
    let _sides = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    let listener = QuicListener::new(quic, endpoint, Default::default());
    tokio::spawn(serve(listener, router()));

    let settings = ClientSettings::new(Policy::Require).side(Path::source("127.0.0.2".parse()?)?);
    let connector = MultipathConnector::builder(client, settings).build()?;
    let quic = QuicConnector::builder(&connector).alpn(&[b"h3"]).build()?;
    let connection = quic.connect(&Endpoint::from(address)).await?;
    let request = Request::get(format!("https://{address}/")).body(Vec::new())?;
    let response = fetch(connection, request).await?;
    println!("{:?}", response.headers().get("multipath-verdict"));
    println!("{}", String::from_utf8_lossy(response.body()));
    quic.wait_idle().await;
    Ok(())
}
