//! The reason why a private key cannot be used.

use std::fmt;

use rustls::pki_types::PrivateKeyDer;
use x509_parser::asn1_rs::{Any, FromDer, Oid, Sequence, Tag};

/// The reason why a private key cannot be used. It holds no part of the key but its algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyProblem {
    /// An RSA key that is too short or too long.
    RsaLength {
        /// The length of the modulus, in bits.
        bits: usize,
    },
    /// A key of an algorithm or a curve without support, by its name or its object identifier.
    Unsupported(String),
    /// The key's DER cannot be parsed, or its numbers do not fit each other.
    Damaged,
}

impl KeyProblem {
    /// Finds the reason why `key`, which was refused, was refused.
    pub(super) fn of(key: &PrivateKeyDer<'_>) -> Self {
        let found = match key {
            PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(key) => sec1(key.secret_sec1_der()),
            _ => None,
        };
        found.unwrap_or(Self::Damaged)
    }
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SUPPORTED: &str = "use ECDSA (P-256, P-384 or P-521), Ed25519, or RSA of 2048 to \
                                 8192 bits";
        match self {
            Self::RsaLength { bits } => {
                write!(f, "RSA keys of {bits} bits are not supported; {SUPPORTED}")
            }
            Self::Unsupported(algorithm) => {
                write!(f, "keys of {algorithm} are not supported; {SUPPORTED}")
            }
            Self::Damaged => f.write_str(
                "the key is damaged, or its label does not fit; copy it again from its source",
            ),
        }
    }
}

/// `OneAsymmetricKey` (RFC 5958, section 2).
fn pkcs8(der: &[u8]) -> Option<KeyProblem> {
    let (_, key) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Any::from_der(&key.content).ok()?;
    let (rest, algorithm) = Sequence::from_der(rest).ok()?;
    let (parameters, algorithm) = Oid::from_der(&algorithm.content).ok()?;
    let algorithm = algorithm.to_id_string();
    match algorithm.as_str() {
        "1.2.840.113549.1.1.1" => {
            let (_, octets) = Any::from_der(rest).ok()?;
            rsa(octets.data)
        }
        "1.2.840.10045.2.1" => curve(parameters),
        // The key of a supported algorithm, so that something else must be wrong.
        "1.3.101.112" => None,
        _ => Some(KeyProblem::Unsupported(name_of(algorithm))),
    }
}

/// `RSAPrivateKey` (RFC 8017, appendix A.1.2).
fn rsa(der: &[u8]) -> Option<KeyProblem> {
    let (_, key) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Any::from_der(&key.content).ok()?;
    let (_, modulus) = Any::from_der(rest).ok()?;
    let leading = modulus.data.iter().position(|byte| *byte != 0)?;
    let digits = &modulus.data[leading..];
    let bits = digits.len() * 8 - usize::try_from(digits[0].leading_zeros()).ok()?;
    (!(2048..=8192).contains(&bits)).then_some(KeyProblem::RsaLength { bits })
}

/// `ECPrivateKey` (RFC 5915, section 3).
fn sec1(der: &[u8]) -> Option<KeyProblem> {
    let (_, key) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Any::from_der(&key.content).ok()?;
    let (rest, _key) = Any::from_der(rest).ok()?;
    let (_, parameters) = Any::from_der(rest).ok()?;
    (parameters.tag() == Tag(0)).then(|| curve(parameters.data))?
}

/// `ECParameters` (RFC 5480, section 2.1.1).
fn curve(parameters: &[u8]) -> Option<KeyProblem> {
    let (_, parameters) = Any::from_der(parameters).ok()?;
    if parameters.tag() != Tag::Oid {
        let explicit = "ECDSA whose curve is given by its parameters and not by its name";
        return Some(KeyProblem::Unsupported(explicit.to_owned()));
    }
    match name_of(parameters.oid().ok()?.to_id_string()) {
        supported if supported.starts_with("P-") => None,
        other => Some(KeyProblem::Unsupported(format!(
            "ECDSA on the curve {other}"
        ))),
    }
}

/// The name of an algorithm or a curve, or else its object identifier.
fn name_of(identifier: String) -> String {
    let name = match identifier.as_str() {
        "1.2.840.113549.1.1.10" => "RSA-PSS (`id-RSASSA-PSS`; plain RSA keys sign with PSS too)",
        "1.2.840.10040.4.1" => "DSA",
        "1.3.101.110" => "X25519 (it cannot sign)",
        "1.3.101.111" => "X448 (it cannot sign)",
        "1.3.101.113" => "Ed448",
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        "1.3.132.0.10" => "secp256k1",
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1",
        _ => return format!("the algorithm {identifier}"),
    };
    name.to_owned()
}
