//! The signature by which a server proved that it holds its key (RFC 8446, section 4.4.3).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use serde::{Serialize, Serializer};

use crate::verdict::hex;

/// The signed bytes before the transcript hash: 64 spaces, the context, and a zero byte.
const PADDING: [u8; 64] = [b' '; 64];
const CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";

/// A server's CertificateVerify of TLS 1.3: its input and its signature. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerSignature {
    /// The algorithm, as registered with IANA.
    pub scheme: u16,
    /// The signed bytes, whose end is the hash of the handshake up to the server's certificate.
    pub input: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl ServerSignature {
    /// Keeps a signature, which is not checked here.
    pub fn new(scheme: SignatureScheme, input: &[u8], signature: &[u8]) -> Self {
        Self {
            scheme: scheme.into(),
            input: input.to_vec(),
            signature: signature.to_vec(),
        }
    }

    /// The hash of the handshake's messages from the ClientHello to the server's certificate;
    /// `None` if the input is not that of a server in TLS 1.3.
    pub fn transcript_hash(&self) -> Option<&[u8]> {
        let hash = self.input.strip_prefix(&PADDING)?.strip_prefix(CONTEXT)?;
        // SHA-256 and SHA-384 are the hashes of TLS 1.3.
        matches!(hash.len(), 32 | 48).then_some(hash)
    }

    /// The name of the algorithm.
    pub fn scheme_name(&self) -> String {
        match SignatureScheme::from(self.scheme) {
            SignatureScheme::Unknown(number) => format!("{number:#06x}"),
            known => format!("{known:?}"),
        }
    }
}

/// The algorithm and the transcript hash.
impl fmt::Display for ServerSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.transcript_hash().map(hex);
        let hash = hash.as_deref().unwrap_or("(unreadable)");
        write!(f, "{} over transcript hash {hash}", self.scheme_name())
    }
}

impl Serialize for ServerSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields {
            scheme: self.scheme,
            scheme_name: self.scheme_name(),
            transcript_hash: self.transcript_hash().map(hex),
            input: STANDARD.encode(&self.input),
            signature: STANDARD.encode(&self.signature),
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "evidence", derive(serde::Deserialize))]
struct Fields {
    scheme: u16,
    scheme_name: String,
    transcript_hash: Option<String>,
    input: String,
    signature: String,
}

#[cfg(feature = "evidence")]
impl<'de> serde::Deserialize<'de> for ServerSignature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        let fields = Fields::deserialize(deserializer)?;
        let signature = Self {
            scheme: fields.scheme,
            input: STANDARD.decode(&fields.input).map_err(D::Error::custom)?,
            signature: STANDARD
                .decode(&fields.signature)
                .map_err(D::Error::custom)?,
        };
        let same = signature.transcript_hash().map(hex) == fields.transcript_hash
            && signature.scheme_name() == fields.scheme_name;
        match same {
            true => Ok(signature),
            false => Err(D::Error::custom(
                "the transcript hash or the algorithm is not that of the signature",
            )),
        }
    }
}
