//! hyper's client over multipath TLS (not mutual TLS).
//!
//! ```text
//! cargo run -p mtls-certs -- init /tmp/pki --host localhost --host 127.0.0.1
//! cargo run -p mtls-core --features http --example axum_https -- /tmp/pki 127.0.0.1:8443
//! cargo run -p mtls-core --features http --example hyper_client -- /tmp/pki https://127.0.0.1:8443/
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mtls_core::VerdictHandle;
use mtls_core::hyper_client::MultipathHttpsConnector;
use mtls_core::path::Path;
use mtls_core::{ClientSettings, Policy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let pki = PathBuf::from(arguments.next().ok_or("usage: hyper_client PKI URL")?);
    let url = arguments.next().ok_or("usage: hyper_client PKI URL")?;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.join("ca.pem"))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();

    // Another loopback address shows the steps; on a machine with two networks say
    // `Path::interface("wwan0")?` or `Path::socks5(proxy)`.
    let https = MultipathHttpsConnector::builder()
        .with_tls_config(config)
        .with_settings(
            ClientSettings::new(Policy::Require).side(Path::source("127.0.0.2".parse()?)?),
        )
        .https_only()
        .enable_all_versions()
        .build()?;
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(https);

    let response = client.get(url.parse()?).await?;
    if let Some(verdict) = VerdictHandle::from_extensions(response.extensions()) {
        let verdict = verdict.get();
        eprintln!("{}, {}", verdict.outcome.as_str(), verdict.independence());
    }
    eprintln!("{:?} {}", response.version(), response.status());
    let body = response.into_body().collect().await?.to_bytes();
    print!("{}", String::from_utf8_lossy(&body));
    Ok(())
}
