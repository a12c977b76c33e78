//! Certificates and raw public keys in evidence.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::verdict::hex_sha256;

/// One certificate, or the raw public key of a SMKEX server (RFC 7250). Without the feature `x509`
/// certificates are not parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CertificateEvidence {
    /// The subject's distinguished name; `None` where it cannot be parsed.
    pub subject: Option<String>,
    /// The issuer's distinguished name.
    pub issuer: Option<String>,
    /// SHA-256 of the certificate or raw public key, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    pub spki_sha256: Option<String>,
    /// The certificate or raw public key (RFC 7468).
    pub pem: String,
}

impl CertificateEvidence {
    /// Describes a certificate or a raw public key. Nothing in it is trusted.
    pub fn new(der: &CertificateDer<'_>) -> Self {
        if is_raw_key(der) {
            return Self {
                subject: None,
                issuer: None,
                sha256: hex_sha256(der),
                spki_sha256: Some(hex_sha256(der)),
                pem: pem("PUBLIC KEY", der),
            };
        }
        Self {
            pem: pem("CERTIFICATE", der),
            sha256: hex_sha256(der),
            ..described(der)
        }
    }

    pub(super) fn is_raw_key(&self) -> bool {
        self.spki_sha256.as_ref() == Some(&self.sha256)
    }
}

/// Subject, issuer and public key of a certificate that can be parsed.
#[cfg(feature = "x509")]
fn described(der: &[u8]) -> CertificateEvidence {
    use x509_parser::prelude::{FromDer, X509Certificate};

    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return CertificateEvidence::default();
    };
    CertificateEvidence {
        subject: Some(certificate.subject().to_string()),
        issuer: Some(certificate.issuer().to_string()),
        spki_sha256: Some(hex_sha256(certificate.public_key().raw)),
        ..CertificateEvidence::default()
    }
}

#[cfg(not(feature = "x509"))]
fn described(_: &[u8]) -> CertificateEvidence {
    CertificateEvidence::default()
}

/// Checks for a SubjectPublicKeyInfo (RFC 7250): the first element of its first element is an
/// object identifier. In a certificate that is a version or a serial number (RFC 5280, section 4.1).
fn is_raw_key(der: &[u8]) -> bool {
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let first = sequence(der).and_then(sequence).and_then(<[u8]>::first);
    first == Some(&OBJECT_IDENTIFIER)
}

/// The contents of a DER sequence, and what follows it.
fn sequence(der: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    let (&[tag, length], rest) = der.split_first_chunk()?;
    // The long form of a length says how many bytes it has (X.690, section 8.1.3).
    let length_bytes = match length {
        0x80.. => usize::from(length & 0x7f),
        _ => 0,
    };
    rest.get(length_bytes..).filter(|_| tag == SEQUENCE)
}

/// The subject, the issuer and the hash of the key.
impl fmt::Display for CertificateEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_raw_key() {
            return write!(f, "raw public key sha256 {}", self.sha256);
        }
        let unknown = "(unreadable)";
        write!(
            f,
            "subject {}, issuer {}, public key sha256 {}",
            self.subject.as_deref().unwrap_or(unknown),
            self.issuer.as_deref().unwrap_or(unknown),
            self.spki_sha256.as_deref().unwrap_or(unknown),
        )
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
