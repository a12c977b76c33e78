//! Evidence of an interception or of a suspicion, to keep and to report.

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde::Serialize;

use super::resumption::ResumptionFailure;
use super::{Verdict, hex_sha256};
use crate::proto::client::InterceptionReason;

/// Evidence of an interception, or of a suspicion by resumption: the chains that were presented, the
/// paths, the times. Never a secret: no key, no value, nothing from which one could be computed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Evidence {
    /// The version of this record.
    pub schema: u32,
    /// The server that was asked for, `HOST:PORT`.
    pub target: String,
    /// The finding.
    #[serde(serialize_with = "as_token")]
    pub reason: EvidenceReason,
    /// The time, in seconds since 1970-01-01 UTC.
    pub unix_time: u64,
    /// The handshake's name in the side protocol.
    pub association: String,
    /// The certificates that were presented on the primary path, the leaf first.
    pub chain: Vec<CertificateEvidence>,
    /// The certificates that were presented on the side path, the leaf first, where the connection
    /// was checked by resumption.
    pub side_chain: Vec<CertificateEvidence>,
    /// Everything that is known of the connection: its paths, addresses and times.
    pub connection: Box<Verdict>,
}

/// The finding that the evidence supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvidenceReason {
    /// An interception.
    Interception(InterceptionReason),
    /// A suspicion, which servers without a common ticket key can raise too.
    Resumption(ResumptionFailure),
}

/// One certificate, or the raw public key of a SMKEX server (RFC 7250). Without the feature `x509`
/// certificates are not parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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

impl Evidence {
    pub(crate) fn new(
        target: String,
        association: String,
        reason: EvidenceReason,
        chains: [&[CertificateDer<'static>]; 2],
        connection: Verdict,
    ) -> Self {
        let unix_time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            schema: 1,
            target,
            reason,
            unix_time,
            association,
            chain: chains[0].iter().map(CertificateEvidence::new).collect(),
            side_chain: chains[1].iter().map(CertificateEvidence::new).collect(),
            connection: Box::new(connection),
        }
    }

    /// The chain of the primary path, the leaf first, as one PEM file.
    pub fn chain_pem(&self) -> String {
        all_pem(&self.chain)
    }

    /// The chain of the side path, the leaf first, as one PEM file.
    pub fn side_chain_pem(&self) -> String {
        all_pem(&self.side_chain)
    }

    /// Writes `interception-TIME-ASSOCIATION.json` (`suspicion-…` for a suspicion) and, where there
    /// are chains, the same with `.pem` and `.side.pem` into `dir`, which is made if it is not
    /// there; all with mode 0600. Returns the path of the JSON file.
    ///
    /// # Errors
    /// The error of the file system, with the path. An existing file is never overwritten.
    pub fn save(&self, dir: &FilePath) -> io::Result<PathBuf> {
        let named = |path: &FilePath, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| named(dir, error))?;
        let kind = match self.reason {
            EvidenceReason::Interception(_) => "interception",
            EvidenceReason::Resumption(_) => "suspicion",
        };
        let name = format!("{kind}-{}-{}", self.unix_time, self.association);
        let json = serde_json::to_vec_pretty(self)?;
        for (extension, bytes) in [
            ("pem", self.chain_pem().as_bytes()),
            ("side.pem", self.side_chain_pem().as_bytes()),
            ("json", &json),
        ] {
            let path = dir.join(format!("{name}.{extension}"));
            // A relay has no chain.
            if !bytes.is_empty() {
                write_new(&path, bytes).map_err(|error| named(&path, error))?;
            }
        }
        Ok(dir.join(format!("{name}.json")))
    }
}

fn write_new(path: &FilePath, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(leaf) = self.chain.first() {
            write!(f, "; presented: {leaf}")?;
        }
        if let Some(leaf) = self.side_chain.first() {
            write!(f, "; presented on the side path: {leaf}")?;
        }
        Ok(())
    }
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

impl EvidenceReason {
    /// A token for programs: lower-case words joined by `-`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interception(reason) => reason.as_str(),
            Self::Resumption(failure) => failure.as_str(),
        }
    }
}

impl fmt::Display for EvidenceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interception(reason) => reason.fmt(f),
            Self::Resumption(failure) => failure.fmt(f),
        }
    }
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

    fn is_raw_key(&self) -> bool {
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

fn all_pem(chain: &[CertificateEvidence]) -> String {
    chain.iter().map(|cert| cert.pem.as_str()).collect()
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

fn as_token<S: serde::Serializer>(
    reason: &EvidenceReason,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.as_str())
}
