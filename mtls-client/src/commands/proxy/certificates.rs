//! A second look at whoever is in the way: which certificates he presents.
//!
//! A relay sees no certificate in TLS 1.3. So after an interception the proxy makes a TLS
//! connection of its own over the primary path, ends it when the certificates are here, and keeps
//! them. They are what was presented *then*, and only that is claimed.

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
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Serialize;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connect::roots;

/// How long the second look may take in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a second TLS connection over the primary path was presented.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Presented {
    /// Where it came from.
    peer: Option<SocketAddr>,
    /// The server name that was asked for.
    server_name: String,
    /// The leaf first.
    certificates: Vec<CertificateEvidence>,
}

impl Presented {
    /// Looks. `None` where there is nothing to be seen.
    pub(crate) async fn look(path: &Path, target: &Endpoint, name: Option<&str>) -> Option<Self> {
        timeout(PATIENCE, look(path, target, name)).await.ok()?
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

    /// Writes them beside the evidence, with mode 0600: `interception-…-second-look.pem`.
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

async fn look(path: &Path, target: &Endpoint, name: Option<&str>) -> Option<Presented> {
    let server_name = match (name, &target.host) {
        (Some(name), _) => name.to_owned(),
        (None, Host::Name(name)) => name.as_str().to_owned(),
        (None, Host::Ip(address)) => address.ip().to_string(),
    };
    let asked = ServerName::try_from(server_name.clone()).ok()?;
    let dialed = path.dial(target).await.ok()?;
    let eye = Arc::new(Eye::new());
    let config = ClientConfig::builder_with_provider(Arc::clone(&eye.provider))
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&eye) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    // It fails when the certificates are here: nothing is ever sent on it.
    let _ = TlsConnector::from(Arc::new(config))
        .connect(asked, dialed.stream)
        .await;
    let certificates = eye.take();
    (!certificates.is_empty()).then_some(Presented {
        peer: dialed.peer,
        server_name,
        certificates,
    })
}

/// Keeps what it sees and trusts none of it.
#[derive(Debug)]
struct Eye {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Vec<CertificateEvidence>>,
}

impl Eye {
    fn new() -> Self {
        Self {
            provider: roots::provider(),
            seen: Mutex::default(),
        }
    }

    fn take(&self) -> Vec<CertificateEvidence> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Eye {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = chain.map(CertificateEvidence::new).collect();
        Err(Error::General("only to look at".into()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only to look at".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only to look at".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
