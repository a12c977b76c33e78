//! Raw public keys (RFC 7250): a server's own, made for one process, and a client's check of any.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, PeerIncompatible, SignatureScheme};
use zeroize::Zeroizing;

/// A private key of Ed25519 in PKCS #8 (RFC 8410, section 7) is this and 32 random bytes.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const ED25519_SEED: usize = 32;

/// A key pair of Ed25519 from the provider's random bytes.
pub(crate) fn ephemeral_key(provider: &CryptoProvider) -> Result<CertifiedKey, rustls::Error> {
    let mut pkcs8 = Zeroizing::new([0; ED25519_PKCS8.len() + ED25519_SEED]);
    let (head, seed) = pkcs8.split_at_mut(ED25519_PKCS8.len());
    head.copy_from_slice(&ED25519_PKCS8);
    provider
        .secure_random
        .fill(seed)
        .map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    let borrowed = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(&pkcs8[..]));
    raw_key(provider, borrowed.clone_key())
}

/// A key pair; the public key stands where otherwise the certificate does (RFC 7250, section 3).
pub(crate) fn raw_key(
    provider: &CryptoProvider,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    let key = provider.key_provider.load_private_key(key)?;
    let public = key.public_key().ok_or_else(|| {
        rustls::Error::General("the provider does not expose the public key of a key pair".into())
    })?;
    let public = CertificateDer::from(public.to_vec());
    Ok(CertifiedKey::new(vec![public], key))
}

/// Takes any key of a server that can sign with it: the side protocol says whose it is.
#[derive(Debug)]
pub(crate) struct AnyRawKey(pub(crate) WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyRawKey {
    /// RFC 7250, section 3: the "certificate" is one SubjectPublicKeyInfo. Whether it is one shows
    /// when the signature is verified.
    fn verify_server_cert(
        &self,
        _key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match others {
            [] => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    /// RFC 8446, section 4.4.3: the peer holds the key that it shows, and signs this transcript.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;

    #[test]
    fn every_configuration_has_a_key_of_its_own() {
        let provider = aws_lc_rs::default_provider();
        let key = || ephemeral_key(&provider).expect("a key").cert;
        let (one, other) = (key(), key());
        assert_eq!(one.len(), 1);
        assert_ne!(one, other);
    }

    #[test]
    fn a_chain_is_no_raw_key() {
        let verifier = AnyRawKey(aws_lc_rs::default_provider().signature_verification_algorithms);
        let key = CertificateDer::from(vec![0x30, 0]);
        let name = ServerName::try_from("server.test").expect("a name");
        let verified = |others: &[CertificateDer<'_>]| {
            let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
            verifier.verify_server_cert(&key, others, &name, &[], now)
        };
        assert!(verified(&[]).is_ok());
        assert!(verified(std::slice::from_ref(&key)).is_err());
    }
}
