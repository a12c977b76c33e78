//! Cryptography in which nothing is left to chance: no key that protects anything may come of it.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup, aws_lc_rs::default_provider,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{Error, NamedGroup};

/// A private key of Ed25519 in PKCS #8 (RFC 8410, section 7) is this and 32 bytes.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The default provider, but for its randomness and its groups: X25519 alone, always with the
/// same private key.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![&FixedX25519],
        secure_random: &Counted,
        ..default_provider()
    }
}

/// An authority's certificate, a server's chain, and its key: Ed25519, always the same.
pub(crate) fn certificates() -> (
    CertificateDer<'static>,
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
) {
    let (ca_key, key) = (ed25519(1), ed25519(2));
    let pair = |key: &PrivatePkcs8KeyDer<'_>| KeyPair::try_from(key).expect("a key pair");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "fixed");
    let ca = params.self_signed(&pair(&ca_key)).expect("a certificate");
    let issuer = Issuer::new(params, pair(&ca_key));
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&pair(&key), &issuer).expect("a certificate");
    (ca.der().clone(), vec![leaf.der().clone()], key.into())
}

fn ed25519(seed: u8) -> PrivatePkcs8KeyDer<'static> {
    let mut der = ED25519_PKCS8.to_vec();
    der.extend([seed; 32]);
    der.into()
}

/// Bytes that count up from the start of the process.
#[derive(Debug)]
struct Counted;

static COUNT: AtomicU64 = AtomicU64::new(0);

impl SecureRandom for Counted {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        for chunk in buffer.chunks_mut(8) {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5a5a_5a5a_5a5a_5a5a;
            chunk.copy_from_slice(&mixed.to_be_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FixedX25519;

impl SupportedKxGroup for FixedX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let private = PrivateKey::from_private_key(&X25519, &[7; 32]).map_err(failed)?;
        let public = private.compute_public_key().map_err(failed)?;
        Ok(Box::new(Exchange {
            private,
            public: public.as_ref().to_vec(),
        }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    private: PrivateKey,
    public: Vec<u8>,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        let failed = Error::General("the keys do not agree".to_owned());
        agree(&self.private, peer, failed, |secret| Ok(secret.into()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

fn failed(error: impl core::fmt::Display) -> Error {
    Error::General(error.to_string())
}
