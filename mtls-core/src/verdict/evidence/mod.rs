//! Evidence of an interception or of a suspicion, to keep and to report.

#[cfg(feature = "evidence")]
pub(crate) mod bundle;
mod certificate;
mod seal;
mod signature;

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use serde::Serialize;

use super::Verdict;
use super::resumption::ResumptionFailure;
use crate::proto::client::InterceptionReason;

pub use certificate::CertificateEvidence;
pub use signature::ServerSignature;

/// The version of the record.
const SCHEMA: u32 = 2;

/// Evidence of an interception, or of a suspicion by resumption: the chains that were presented, the
/// signatures by their keys, the paths, the times. Never a secret: no key, no value, nothing from
/// which one could be computed.
///
/// The certificates, the paths and the times are what this program reports. The signatures prove
/// something to a third party: the holder of the certificate's key signed a TLS 1.3 handshake with
/// this transcript hash, which its reporter cannot forge.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Evidence {
    /// The version of this record.
    pub schema: u32,
    /// The requested server, `HOST:PORT`.
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
    /// The server's signature of the handshake on the primary path; `None` in a relay, after a
    /// resumption, and if the configuration's verifier is no
    /// [`RecordingVerifier`](crate::RecordingVerifier).
    pub signature: Option<ServerSignature>,
    /// The server's signature of the handshake on the side path, likewise.
    pub side_signature: Option<ServerSignature>,
    /// A second connection over the primary path, of a program that relays TLS.
    pub second_look: Option<SecondLook>,
    /// Everything that is known of the connection: its paths, addresses and times.
    pub connection: Box<Verdict>,
}

/// A TLS connection after an interception, to see the certificates that a relay cannot see. They
/// show the state at that time.
#[derive(Clone, Debug, Serialize)]
pub struct SecondLook {
    /// The address of the peer.
    pub peer: Option<SocketAddr>,
    /// The requested server name.
    pub server_name: String,
    /// The certificates that were presented, the leaf first.
    pub chain: Vec<CertificateEvidence>,
    /// The server's signature of this handshake.
    pub signature: Option<ServerSignature>,
}

/// A server's part in a handshake.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Presented<'a> {
    pub(crate) chain: &'a [CertificateDer<'static>],
    pub(crate) signature: Option<&'a ServerSignature>,
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

impl Evidence {
    pub(crate) fn new(
        target: String,
        association: String,
        reason: EvidenceReason,
        [primary, side]: [Presented<'_>; 2],
        connection: Verdict,
    ) -> Self {
        let unix_time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            schema: SCHEMA,
            target,
            reason,
            unix_time,
            association,
            chain: described(primary.chain),
            side_chain: described(side.chain),
            signature: primary.signature.cloned(),
            side_signature: side.signature.cloned(),
            second_look: None,
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

    /// Adds a second look, whose files get names of their own.
    pub fn with_second_look(mut self, look: SecondLook) -> Self {
        self.second_look = Some(look);
        self
    }

    /// The evidence as JSON that ends with a SHA-256 digest of itself, which shows damage.
    /// `mtls_core::EvidenceBundle` (feature `evidence`) reads and checks it.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_json(&self) -> io::Result<Vec<u8>> {
        Ok(seal::sealed(serde_json::to_vec_pretty(self)?))
    }

    /// Writes `interception-TIME-ASSOCIATION.json` (`suspicion-…` for a suspicion) and, where there
    /// are chains, the same with `.pem` and `.side.pem` into `dir`, which is created if it does not
    /// exist; all with mode 0600. With a second look, writes `…-second-look.json` and
    /// `…-second-look.pem` instead. Returns the path of the JSON file.
    ///
    /// # Errors
    /// The error of the file system, with the path. An existing file is never overwritten, and no incomplete
    /// one stays.
    pub fn save(&self, dir: &FilePath) -> io::Result<PathBuf> {
        let named = |path: &FilePath, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| named(dir, error))?;
        let name = self.file_name();
        let [pem, side_pem] = match &self.second_look {
            Some(look) => [all_pem(&look.chain), String::new()],
            None => [self.chain_pem(), self.side_chain_pem()],
        };
        for (extension, bytes) in [
            ("pem", pem.into_bytes()),
            ("side.pem", side_pem.into_bytes()),
            ("json", self.to_json()?),
        ] {
            let path = dir.join(format!("{name}.{extension}"));
            // A relay has no chain.
            if !bytes.is_empty() {
                write_new(&path, &bytes).map_err(|error| named(&path, error))?;
            }
        }
        Ok(dir.join(format!("{name}.json")))
    }

    fn file_name(&self) -> String {
        let kind = match self.reason {
            EvidenceReason::Interception(_) => "interception",
            EvidenceReason::Resumption(_) => "suspicion",
        };
        let look = self.second_look.as_ref().map_or("", |_| "-second-look");
        format!("{kind}-{}-{}{look}", self.unix_time, self.association)
    }
}

fn described(chain: &[CertificateDer<'_>]) -> Vec<CertificateEvidence> {
    chain.iter().map(CertificateEvidence::new).collect()
}

/// Creates a file; an incomplete one, for lack of space, is removed again.
fn write_new(path: &FilePath, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
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

fn all_pem(chain: &[CertificateEvidence]) -> String {
    chain.iter().map(|cert| cert.pem.as_str()).collect()
}

fn as_token<S: serde::Serializer>(
    reason: &EvidenceReason,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.as_str())
}
