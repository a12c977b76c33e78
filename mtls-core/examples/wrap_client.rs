//! An existing rustls client, moved to multipath TLS (not mutual TLS).
//!
//! ```text
//! cargo run -p mtls-certs -- init /tmp/pki --host localhost --host 127.0.0.1
//! cargo run -p mtls-core --example wrap_server -- /tmp/pki 127.0.0.1:8443
//! cargo run -p mtls-core --example wrap_client -- /tmp/pki 127.0.0.1:8443
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use mtls_core::path::{Endpoint, Path};
use mtls_core::{ClientSettings, MultipathConnector, Policy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let pki = PathBuf::from(arguments.next().ok_or("usage: wrap_client PKI HOST:PORT")?);
    let to: Endpoint = arguments
        .next()
        .ok_or("usage: wrap_client PKI HOST:PORT")?
        .parse()?;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.join("ca.pem"))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();

    // Was: `TlsConnector::from(Arc::new(config)).connect(name, tcp)`.
    //
    // Both loopback addresses are on one interface, so this shows the steps and not two paths: on
    // a machine with two, say `Path::interface("wwan0")?` or `Path::socks5(proxy)`.
    let settings = ClientSettings::new(Policy::Require).side(Path::source("127.0.0.2".parse()?)?);
    let connector = MultipathConnector::builder(Arc::new(config), settings).build()?;
    let mut stream = connector.connect(&to).await?;

    let verdict = stream.verdict();
    println!("{}, {}", verdict.outcome.as_str(), verdict.independence());
    stream.write_all(b"hello over two paths\n").await?;
    stream.shutdown().await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    print!("{reply}");
    Ok(())
}
