//! An existing rustls server, moved to multipath TLS (not mutual TLS). Echoes what it reads.
//!
//! ```text
//! cargo run -p mtls-certs -- init /tmp/pki --host localhost --host 127.0.0.1
//! cargo run -p mtls-core --example wrap_server -- /tmp/pki 127.0.0.1:8443
//! cargo run -p mtls-core --example wrap_client -- /tmp/pki 127.0.0.1:8443
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy, ServerStream};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let pki = PathBuf::from(arguments.next().ok_or("usage: wrap_server PKI ADDRESS")?);
    let address = arguments.next().ok_or("usage: wrap_server PKI ADDRESS")?;

    let chain = CertificateDer::pem_file_iter(pki.join("server.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(pki.join("server.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;

    // Was: `TlsAcceptor::from(Arc::new(config))`, and a task for each accepted connection.
    let acceptor = MultipathAcceptor::builder(Arc::new(config), Policy::Prefer).build()?;
    let tcp = TcpListener::bind(address).await?;
    let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    loop {
        let (stream, peer) = listener.accept().await;
        tokio::spawn(async move {
            if let Err(error) = echo(stream, peer).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn echo(
    stream: ServerStream<TcpStream>,
    peer: SocketAddr,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (tls, verdict) = stream.wait_for_verdict().await?.into_parts();
    println!("{peer}: {}", verdict.outcome().as_str());
    let (mut reader, mut writer) = tokio::io::split(tls);
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    Ok(())
}
