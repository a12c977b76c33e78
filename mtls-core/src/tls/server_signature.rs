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
    static RECORDED: RefCell<Recorded>;
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
            .inspect_err(keep_error)
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
            .verify_tls13_signature(message, certificate, signature)
            .inspect_err(keep_error)?;
        // No task: a connection that another library drives.
        let _ = RECORDED.try_with(|kept| {
            let signature = ServerSignature::new(signature.scheme, message, signature.signature());
            kept.borrow_mut().signature = Some(signature);
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

/// The facts of one handshake that a verifier keeps.
#[derive(Default)]
pub(super) struct Recorded {
    pub(super) signature: Option<ServerSignature>,
    /// The reason of its refusal, of which QUIC's own error has the alert and a text only.
    pub(super) error: Option<Error>,
}

/// No task: a connection that another library drives.
fn keep_error(error: &Error) {
    let _ = RECORDED.try_with(|kept| kept.borrow_mut().error = Some(error.clone()));
}

/// Drives a handshake, and returns the server's signature too.
pub(super) async fn recorded<F: Future>(handshake: F) -> (F::Output, Option<ServerSignature>) {
    let mut recorded = pin!(RECORDED.scope(RefCell::default(), handshake));
    let output = recorded.as_mut().await;
    let kept = recorded.take_value().map(RefCell::into_inner);
    (output, kept.and_then(|kept| kept.signature))
}

/// Makes one step of a handshake, and returns what the verifier keeps of it.
#[cfg(feature = "quic")]
pub(super) fn recorded_step<T>(step: impl FnOnce() -> T) -> (T, Recorded) {
    RECORDED.sync_scope(RefCell::default(), || {
        let output = step();
        (output, RECORDED.with(RefCell::take))
    })
}
