//! The certificates that an attacker presents.
//!
//! A relay sees no certificates in TLS 1.3. After an interception the proxy therefore makes a TLS
//! connection itself over the primary path, and closes it when it has received the certificates.
//! They are the certificates of that second connection, not of the intercepted one.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mtls_core::path::{Dial, Endpoint, Host, Path};
use mtls_core::{CertificateEvidence, Evidence};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use serde::Serialize;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connect::provider::provider;

/// The maximum time of the second connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The certificates of a second TLS connection over the primary path.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PresentedCertificates {
    /// The address of the peer.
    peer: Option<SocketAddr>,
    /// The requested server name.
    server_name: String,
    /// The leaf is the first.
    certificates: Vec<CertificateEvidence>,
}

impl PresentedCertificates {
    /// Fetches the certificates; `None` if there are none.
    pub(crate) async fn fetch(path: &Path, target: &Endpoint, name: Option<&str>) -> Option<Self> {
        timeout(TIMEOUT, fetch(path, target, name)).await.ok()?
    }

    /// All certificates as one PEM file.
    pub(crate) fn pem(&self) -> String {
        let pems = self.certificates.iter();
        pems.map(|certificate| certificate.pem.as_str()).collect()
    }

    /// The leaf.
    pub(crate) fn leaf(&self) -> Option<&CertificateEvidence> {
        self.certificates.first()
    }

    /// Writes them next to the evidence, with mode 0600: `interception-…-second-look.pem`.
    pub(crate) fn save(&self, dir: &FilePath, evidence: &Evidence) -> std::io::Result<PathBuf> {
        let (time, association) = (evidence.unix_time, &evidence.association);
        let path = dir.join(format!("interception-{time}-{association}-second-look.pem"));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(self.pem().as_bytes())?;
        Ok(path)
    }
}

async fn fetch(
    path: &Path,
    target: &Endpoint,
    name: Option<&str>,
) -> Option<PresentedCertificates> {
    let server_name = match (name, &target.host) {
        (Some(name), _) => name.to_owned(),
        (None, Host::Name(name)) => name.as_str().to_owned(),
        (None, Host::Ip(address)) => address.ip().to_string(),
    };
    let name = ServerName::try_from(server_name.clone()).ok()?;
    let dialed = path.dial(target).await.ok()?;
    let collector = Arc::new(CertificateCollector::new());
    let config = ClientConfig::builder_with_provider(Arc::clone(&collector.provider))
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&collector) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    // The verifier fails the handshake, so no application data is ever sent.
    let _ = TlsConnector::from(Arc::new(config))
        .connect(name, dialed.stream)
        .await;
    let certificates = collector.take();
    (!certificates.is_empty()).then_some(PresentedCertificates {
        peer: dialed.peer,
        server_name,
        certificates,
    })
}

/// Keeps the certificates, and trusts none.
#[derive(Debug)]
struct CertificateCollector {
    provider: Arc<CryptoProvider>,
    certificates: Mutex<Vec<CertificateEvidence>>,
}

impl CertificateCollector {
    fn new() -> Self {
        Self {
            provider: provider(),
            certificates: Mutex::default(),
        }
    }

    fn take(&self) -> Vec<CertificateEvidence> {
        std::mem::take(
            &mut *self
                .certificates
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl ServerCertVerifier for CertificateCollector {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let mut certificates = self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *certificates = chain.map(CertificateEvidence::new).collect();
        Err(Error::General("certificates are collected only".into()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("certificates are collected only".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("certificates are collected only".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
