//! The TLS 1.3 exporter, computed from an exporter secret (RFC 8446, section 7.5).
//!
//! A TLS stack's own exporter opens only when its handshake is complete; the server needs the
//! value one round trip earlier, with its first flight. The secret is there by then.

use hkdf::Hkdf;
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroizing;

/// `exporter_secret` of one TLS 1.3 connection, with the hash of its cipher suite.
///
/// Zeroized on drop; not printable.
#[derive(Clone)]
pub struct ExporterSecret {
    hash: SuiteHash,
    secret: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SuiteHash {
    Sha256,
    Sha384,
}

impl ExporterSecret {
    /// Takes the secret as a TLS key log names it (`EXPORTER_SECRET`). Its length tells the hash
    /// of the cipher suite: the suites of RFC 8446 have SHA-256 (32 bytes) and SHA-384 (48).
    ///
    /// `None` for any other length.
    pub fn new(secret: &[u8]) -> Option<Self> {
        let hash = match secret.len() {
            32 => SuiteHash::Sha256,
            48 => SuiteHash::Sha384,
            _ => return None,
        };
        Some(Self {
            hash,
            secret: Zeroizing::new(secret.to_vec()),
        })
    }

    /// `TLS-Exporter(label, context, out.len())`.
    ///
    /// # Panics
    /// When `label` is longer than 249 bytes or `out` longer than 255 hashes: RFC 8446's
    /// encoding has no room for either. The protocol's own labels and lengths are constants.
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) {
        match self.hash {
            SuiteHash::Sha256 => {
                let empty = Sha256::digest([]);
                let derived =
                    Zeroizing::new(<[u8; 32]>::from(hkdf_sha256(&self.secret, label, &empty)));
                let _ = (derived, context, out);
                unimplemented!()
            }
            SuiteHash::Sha384 => unimplemented!(),
        }
    }
}
fn hkdf_sha256(_: &[u8], _: &[u8], _: &[u8]) -> [u8; 32] {
    let _ = Hkdf::<Sha256>::from_prk(&[]);
    let _ = Sha384::new();
    unimplemented!()
}
