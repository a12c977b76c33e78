//! Client certificates: *mutual* TLS inside *multipath* TLS, both ends in one process.
//!
//! The two answer different questions. A client certificate tells the server who the client is;
//! the side path tells the client that no attacker is in the connection. They need nothing of each
//! other: the wrapped rustls configurations carry the certificates.
//!
//! ```text
//! cargo run -p mtls-core --example client_certificates
//! ```

use std::sync::Arc;

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathConnector, MultipathListener,
    Policy,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let mut roots = RootCertStore::empty();
    roots.add(pki.ca.cert_der())?;
    let roots = Arc::new(roots);

    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let to = Endpoint::from(tcp.local_addr()?);
    let server = server_config(&pki, Arc::clone(&roots))?;
    let acceptor = MultipathAcceptor::builder(Arc::new(server), Policy::Require).build()?;
    let listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    let served = tokio::spawn(greet(listener));

    let client = client_config(&pki, roots)?;
    let settings = ClientSettings::new(Policy::Require).side(Path::source("127.0.0.2".parse()?)?);
    let connector = MultipathConnector::builder(Arc::new(client), settings).build()?;
    let mut stream = connector.connect(&to).await?;
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).await?;
    print!("{greeting}");
    served.await?
}

fn server_config(pki: &Pki, roots: Arc<RootCertStore>) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients.build()?)
        .with_single_cert(pki.server.chain_der(), pki.server.key_der())?)
}

fn client_config(pki: &Pki, roots: Arc<RootCertStore>) -> Result<ClientConfig, Error> {
    let alice = pki.ca.issue_client("alice")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(alice.chain_der(), alice.key_der())?)
}

/// Says what the server knows of one client.
async fn greet(mut listener: MultipathListener<TcpStream>) -> Result<(), Error> {
    let (mut stream, _) = listener.accept().await;
    let verdict = stream.verdict();
    let (_, session) = stream.get_ref().get_ref();
    let certificates = session.peer_certificates().unwrap_or_default().len();
    let greeting = format!(
        "connection {}, client showed a chain of {certificates}\n",
        verdict.outcome.as_str()
    );
    stream.write_all(greeting.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}
