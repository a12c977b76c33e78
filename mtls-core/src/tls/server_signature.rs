//! Keeps the server's signature of a client's handshake, which rustls shows to the verifier of
//! certificates and to nothing else.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::verdict::evidence::ServerSignature;

tokio::task_local! {
    // The verifier belongs to a configuration, and rustls resumes a session only with the verifier
    // that it began with. So the handshake is identified by the task that drives it.
    static SIGNATURE: RefCell<Option<ServerSignature>>;
}

/// A verifier of server certificates that decides as another does, and keeps the server's signature
/// for [`Evidence`](crate::Evidence).
///
/// rustls does not reveal the verifier of a configuration, so the caller wraps it:
///
/// ```
/// use std::sync::Arc;
///
/// use mtls_core::RecordingVerifier;
/// use rustls::client::WebPkiServerVerifier;
/// # fn f(roots: rustls::RootCertStore) -> Result<rustls::ClientConfig, Box<dyn std::error::Error>> {
/// # let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
///
/// let verifier =
///     WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build()?;
/// let config = rustls::ClientConfig::builder_with_provider(provider)
///     .with_safe_default_protocol_versions()?
///     .dangerous()
///     .with_custom_certificate_verifier(Arc::new(RecordingVerifier::new(verifier)))
///     .with_no_client_auth();
/// # Ok(config)
/// # }
/// ```
#[derive(Debug)]
pub struct RecordingVerifier {
    inner: Arc<dyn ServerCertVerifier>,
}

impl RecordingVerifier {
    /// Wraps a verifier.
    pub fn new(inner: Arc<dyn ServerCertVerifier>) -> Self {
        Self { inner }
    }
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner
            .verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = self
            .inner
            .verify_tls13_signature(message, certificate, signature)?;
        // No task: a connection that another library drives.
        let _ = SIGNATURE.try_with(|kept| {
            let signature = ServerSignature::new(signature.scheme, message, signature.signature());
            *kept.borrow_mut() = Some(signature);
        });
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.inner.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

/// Drives a handshake, and returns the server's signature too.
pub(super) async fn recorded<F: Future>(handshake: F) -> (F::Output, Option<ServerSignature>) {
    let mut recorded = pin!(SIGNATURE.scope(RefCell::default(), handshake));
    let output = recorded.as_mut().await;
    let signature = recorded.take_value().and_then(RefCell::into_inner);
    (output, signature)
}
