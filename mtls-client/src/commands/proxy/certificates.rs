//! The certificates that an attacker presents.
//!
//! A relay sees no certificates in TLS 1.3. After an interception the proxy therefore makes a TLS
//! connection itself over the primary path, and closes it when it has received the certificates.
//! They are the certificates of that second connection, not of the intercepted one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mtls_core::path::{Dial, Endpoint, Host, Path};
use mtls_core::{CertificateEvidence, SecondLook, ServerSignature};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connect::provider::provider;

/// The maximum time of the second connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches the certificates; `None` if there are none.
pub(super) async fn look_again(
    path: &Path,
    target: &Endpoint,
    name: Option<&str>,
) -> Option<SecondLook> {
    timeout(TIMEOUT, fetch(path, target, name)).await.ok()?
}

/// All certificates as one PEM file.
pub(super) fn pem(look: &SecondLook) -> String {
    let pems = look.chain.iter();
    pems.map(|certificate| certificate.pem.as_str()).collect()
}

async fn fetch(path: &Path, target: &Endpoint, name: Option<&str>) -> Option<SecondLook> {
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
    let Collected { chain, signature } = collector.take();
    (!chain.is_empty()).then_some(SecondLook {
        peer: dialed.peer,
        server_name,
        chain,
        signature,
    })
}

/// Keeps the certificates and the server's signature, and lets no handshake succeed.
#[derive(Debug)]
struct CertificateCollector {
    provider: Arc<CryptoProvider>,
    collected: Mutex<Collected>,
}

#[derive(Debug, Default)]
struct Collected {
    chain: Vec<CertificateEvidence>,
    signature: Option<ServerSignature>,
}

impl CertificateCollector {
    fn new() -> Self {
        Self {
            provider: provider(),
            collected: Mutex::default(),
        }
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        let collected = self.collected.lock();
        collected.unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Collected {
        std::mem::take(&mut *self.collected())
    }
}

fn collected_only<T>() -> Result<T, Error> {
    Err(Error::General("certificates are collected only".into()))
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
        self.collected().chain = chain.map(CertificateEvidence::new).collect();
        // The signature follows.
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        collected_only()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if verify_tls13_signature(message, certificate, signed, algorithms).is_ok() {
            let signature = ServerSignature::new(signed.scheme, message, signed.signature());
            self.collected().signature = Some(signature);
        }
        collected_only()
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
