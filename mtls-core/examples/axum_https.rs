//! axum over HTTPS with multipath TLS (not mutual TLS): a page for all users, one for verified
//! clients, and a graceful end on Ctrl-C.
//!
//! ```text
//! cargo run -p mtls-certs -- init /tmp/pki --host localhost --host 127.0.0.1
//! cargo run -p mtls-core --features http --example axum_https -- /tmp/pki 127.0.0.1:8443
//! cargo run -p mtls-core --features http --example hyper_client -- /tmp/pki https://127.0.0.1:8443/pay
//! curl --cacert /tmp/pki/ca.pem https://127.0.0.1:8443/pay
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use mtls_core::axum::MultipathConnectInfo;
use mtls_core::tower::RequireVerified;
use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

async fn verdict(ConnectInfo(info): ConnectInfo<MultipathConnectInfo>) -> String {
    let verdict = info.verdict().get();
    format!("{}: {}\n", info.peer(), verdict.outcome.as_str())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let pki = PathBuf::from(arguments.next().ok_or("usage: axum_https PKI ADDRESS")?);
    let address = arguments.next().ok_or("usage: axum_https PKI ADDRESS")?;

    let chain = CertificateDer::pem_file_iter(pki.join("server.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(pki.join("server.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

    let app = Router::new()
        .route("/pay", get(async || "paid\n"))
        // Only the routes above this line: anybody else gets 421.
        .route_layer(RequireVerified::on_server())
        .route("/", get(verdict))
        .into_make_service_with_connect_info::<MultipathConnectInfo>();
    let acceptor = MultipathAcceptor::builder(Arc::new(config), Policy::Prefer).build()?;
    let tcp = TcpListener::bind(address).await?;
    let listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    println!("https://{}/", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
