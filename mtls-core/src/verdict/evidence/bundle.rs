//! Reads evidence that was saved, and checks it without a network.

use std::fmt;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use serde_json::Value;

use super::{CertificateEvidence, EvidenceReason, SCHEMA, ServerSignature, seal};
use crate::proto::client::InterceptionReason;
use crate::verdict::resumption::ResumptionFailure;

/// The largest file, in bytes. A chain of TLS has 16 MiB at most, and usually a few KiB.
const MAX_LENGTH: usize = 64 << 20;

/// Saved [`Evidence`](crate::Evidence), to show and to check.
///
/// [`parse`](Self::parse) checks that no byte has changed, and [`verify`](Self::verify) the
/// certificates and signatures. `docs/guide.md` states what a third party can conclude.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EvidenceBundle {
    /// The version of the record.
    pub schema: u32,
    /// The requested server, `HOST:PORT`.
    pub target: String,
    /// The finding, as a token.
    pub reason: String,
    /// The time, in seconds since 1970-01-01 UTC.
    pub unix_time: u64,
    /// The handshake's name in the side protocol.
    pub association: String,
    /// The certificates that were presented on the primary path.
    pub chain: Vec<CertificateEvidence>,
    /// The certificates that were presented on the side path.
    pub side_chain: Vec<CertificateEvidence>,
    /// The server's signature on the primary path.
    pub signature: Option<ServerSignature>,
    /// The server's signature on the side path.
    pub side_signature: Option<ServerSignature>,
    /// A second connection over the primary path.
    pub second_look: Option<SavedSecondLook>,
    /// The verdict, as in the JSON of [`Verdict`](crate::Verdict).
    pub connection: Value,
    /// The digest, which [`parse`](Self::parse) has checked.
    pub sha256: String,
}

/// A saved [`SecondLook`](crate::SecondLook).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedSecondLook {
    /// The address of the peer.
    pub peer: Option<SocketAddr>,
    /// The requested server name.
    pub server_name: String,
    /// The certificates that were presented.
    pub chain: Vec<CertificateEvidence>,
    /// The server's signature.
    pub signature: Option<ServerSignature>,
}

/// A server's part in one handshake of a bundle.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SavedHandshake<'a> {
    /// `primary`, `side` or `second-look`.
    pub path: &'static str,
    /// The certificates, the leaf first.
    pub chain: &'a [CertificateEvidence],
    /// The server's signature, if it was seen.
    pub signature: Option<&'a ServerSignature>,
}

/// Reason to reject a bundle.
///
/// ```
/// use mtls_core::{EvidenceBundle, EvidenceError};
///
/// let error = EvidenceBundle::parse(b"{}").unwrap_err();
/// assert_eq!(error, EvidenceError::Damaged);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The file is larger than 64 MiB.
    TooLong,
    /// The digest at the end is missing or is not that of the file.
    Damaged,
    /// Another version of the record.
    Schema(u64),
    /// The digest is right, but the file is not evidence.
    Malformed(String),
    /// The description of a certificate differs from the certificate.
    Certificate {
        /// The path.
        path: &'static str,
        /// The position in the chain, from 0.
        index: usize,
    },
    /// A signature is not valid.
    Signature {
        /// The path.
        path: &'static str,
        /// The cause.
        reason: String,
    },
    /// Two parts contradict each other.
    Contradiction(&'static str),
}

impl EvidenceBundle {
    /// Reads a bundle, and checks its digest.
    ///
    /// # Errors
    /// If a byte has changed, or the file is not evidence of this version.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u64,
        }
        if bytes.len() > MAX_LENGTH {
            return Err(EvidenceError::TooLong);
        }
        let malformed = |error: serde_json::Error| EvidenceError::Malformed(error.to_string());
        if let Ok(Version { schema }) = serde_json::from_slice(bytes)
            && schema != u64::from(SCHEMA)
        {
            return Err(EvidenceError::Schema(schema));
        }
        if !seal::is_intact(bytes) {
            return Err(EvidenceError::Damaged);
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }

    /// The handshakes in which a server presented certificates.
    pub fn handshakes(&self) -> impl Iterator<Item = SavedHandshake<'_>> {
        let look = self.second_look.as_ref();
        let all = [
            ("primary", &self.chain[..], self.signature.as_ref()),
            ("side", &self.side_chain, self.side_signature.as_ref()),
            (
                "second-look",
                look.map_or(&[][..], |look| &look.chain),
                look.and_then(|look| look.signature.as_ref()),
            ),
        ];
        let all = all
            .into_iter()
            .map(|(path, chain, signature)| SavedHandshake {
                path,
                chain,
                signature,
            });
        all.filter(|handshake| !handshake.chain.is_empty() || handshake.signature.is_some())
    }

    /// The finding; `None` if its token is unknown.
    pub fn finding(&self) -> Option<EvidenceReason> {
        const INTERCEPTIONS: [InterceptionReason; 3] = [
            InterceptionReason::WrongValue,
            InterceptionReason::UnknownHandshake,
            InterceptionReason::Downgrade,
        ];
        const SUSPICIONS: [ResumptionFailure; 3] = [
            ResumptionFailure::Split,
            ResumptionFailure::OtherKey,
            ResumptionFailure::TicketDisputed,
        ];
        let interceptions = INTERCEPTIONS.map(EvidenceReason::Interception);
        let mut all = interceptions
            .into_iter()
            .chain(SUSPICIONS.map(EvidenceReason::Resumption));
        all.find(|finding| finding.as_str() == self.reason)
    }

    /// Checks every certificate against its description, every signature with the key of its
    /// certificate, and that the parts agree. Trust in the certificates, and the time, are not
    /// checked.
    ///
    /// # Errors
    /// The first part that is wrong.
    pub fn verify(&self, provider: &CryptoProvider) -> Result<(), EvidenceError> {
        for handshake in self.handshakes() {
            handshake.verify(provider)?;
        }
        self.agrees()
    }

    fn agrees(&self) -> Result<(), EvidenceError> {
        let connection = &self.connection;
        let hashes: Vec<_> = self.chain.iter().map(|one| one.sha256.as_str()).collect();
        let presented = connection["tls"]["peer_chain_sha256"].as_array();
        let presented = presented.into_iter().flatten().filter_map(Value::as_str);
        // A ClientHello that could not be read has no association.
        let association = connection["association"].as_str().unwrap_or_default();
        for (agrees, what) in [
            (
                connection["reason"] == self.reason.as_str(),
                "the reason is not that of the connection",
            ),
            (
                association == self.association,
                "the association is not that of the connection",
            ),
            (
                presented.eq(hashes),
                "the certificates are not those of the connection",
            ),
        ] {
            if !agrees {
                return Err(EvidenceError::Contradiction(what));
            }
        }
        Ok(())
    }
}

impl SavedHandshake<'_> {
    /// The certificates, the leaf first; `None` if one cannot be decoded.
    pub fn certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.chain.iter().map(CertificateEvidence::der).collect()
    }

    fn verify(&self, provider: &CryptoProvider) -> Result<(), EvidenceError> {
        for (index, certificate) in self.chain.iter().enumerate() {
            let described = certificate.der().map(|der| CertificateEvidence::new(&der));
            if described.as_ref() != Some(certificate) {
                let path = self.path;
                return Err(EvidenceError::Certificate { path, index });
            }
        }
        let verified = self.signature.map_or(Ok(()), |signature| {
            self.verify_signature(signature, provider)
        });
        verified.map_err(|reason| EvidenceError::Signature {
            path: self.path,
            reason,
        })
    }

    /// RFC 8446, section 4.4.3.
    fn verify_signature(
        &self,
        signed: &ServerSignature,
        provider: &CryptoProvider,
    ) -> Result<(), String> {
        if signed.transcript_hash().is_none() {
            return Err("its input is not that of a server in TLS 1.3".to_owned());
        }
        let leaf = self.chain.first();
        let leaf = leaf.ok_or("there is no certificate of the key")?;
        let der = leaf.der().ok_or("the certificate cannot be decoded")?;
        let scheme = SignatureScheme::from(signed.scheme);
        let algorithms = provider.signature_verification_algorithms.mapping.iter();
        let algorithm = algorithms
            .filter(|(known, _)| *known == scheme)
            // TLS 1.3 has one algorithm for each scheme, which rustls names first.
            .find_map(|(_, algorithms)| algorithms.first())
            .ok_or_else(|| format!("the algorithm {} is unknown", signed.scheme_name()))?;
        let (input, signature) = (&signed.input, &signed.signature);
        let verified = match leaf.is_raw_key() {
            true => {
                let key = SubjectPublicKeyInfoDer::from(der.as_ref());
                webpki::RawPublicKeyEntity::try_from(&key)
                    .and_then(|key| key.verify_signature(*algorithm, input, signature))
            }
            false => webpki::EndEntityCert::try_from(&der)
                .and_then(|leaf| leaf.verify_signature(*algorithm, input, signature)),
        };
        verified.map_err(|_| "the key of the certificate did not make it".to_owned())
    }
}

impl CertificateEvidence {
    /// The certificate or raw public key; `None` if `pem` is not exactly one, as written by
    /// [`new`](Self::new).
    pub fn der(&self) -> Option<CertificateDer<'static>> {
        let mut lines = self.pem.lines();
        lines.next()?.strip_prefix("-----BEGIN ")?;
        lines.next_back()?;
        let der = STANDARD.decode(lines.collect::<String>()).ok()?;
        Some(CertificateDer::from(der))
    }
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the file has more than {MAX_LENGTH} bytes"),
            Self::Damaged => f.write_str(
                "the file has changed since it was saved: its digest is missing or wrong; ask for \
                 the original",
            ),
            Self::Schema(found) => write!(
                f,
                "expected evidence of version {SCHEMA}, got version {found}; use the version of \
                 this program that saved it"
            ),
            Self::Malformed(error) => write!(f, "the file is not evidence: {error}"),
            Self::Certificate { path, index } => write!(
                f,
                "certificate {index} of the {path} handshake does not match its description"
            ),
            Self::Signature { path, reason } => {
                write!(
                    f,
                    "the signature of the {path} handshake is not valid: {reason}"
                )
            }
            Self::Contradiction(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for EvidenceError {}
