//! gRPC (tonic) over multipath TLS (not mutual TLS), both ends in one process.
//!
//! ```text
//! cargo run -p mtls-core --features http --example grpc
//! ```
//!
//! tonic's `Channel` keeps one connection and never asks what it is worth, so give it
//! `Policy::Require`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mtls_certs::Pki;
use mtls_core::axum::MultipathConnectInfo;
use mtls_core::hyper_client::MultipathHttpsConnector;
use mtls_core::path::Path;
use mtls_core::tower::RequireVerified;
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathListener, Policy, ServerStream,
};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A stream that tells tonic, and so every handler, what is known of its connection.
struct GrpcStream {
    io: ServerStream<TcpStream>,
    info: MultipathConnectInfo,
}

impl Connected for GrpcStream {
    type ConnectInfo = MultipathConnectInfo;

    fn connect_info(&self) -> MultipathConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for GrpcStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for GrpcStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Serves the health service to verified clients.
pub(crate) async fn serve(listener: MultipathListener<TcpStream>) -> Result<(), Error> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let incoming = futures_util::stream::unfold(listener, |mut listener| async {
        let (io, peer) = listener.accept().await;
        let info = MultipathConnectInfo::new(&io, peer);
        Some((Ok::<_, std::io::Error>(GrpcStream { io, info }), listener))
    });
    Server::builder()
        .layer(RequireVerified::on_server())
        .add_service(health)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(pki.server.chain_der(), pki.server.key_der())?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = MultipathAcceptor::builder(Arc::new(server), Policy::Require).build()?;
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let address = tcp.local_addr()?;
    let listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    tokio::spawn(serve(listener));

    let mut roots = RootCertStore::empty();
    roots.add(pki.ca.cert_der())?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = MultipathHttpsConnector::builder()
        .with_tls_config(client)
        .with_settings(
            ClientSettings::new(Policy::Require).side(Path::source("127.0.0.2".parse()?)?),
        )
        .https_only()
        .enable_http2()
        .build()?;
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
    let mut health = HealthClient::new(endpoint.connect_with_connector(https).await?);
    let answer = health.check(HealthCheckRequest::default()).await?;
    println!("{:?}", answer.into_inner().status());
    Ok(())
}
