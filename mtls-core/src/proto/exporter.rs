//! The TLS 1.3 exporter, computed from an exporter secret (RFC 8446, section 7.5;
//! `docs/protocol.md`, section 4.2).
//!
//! A TLS stack's own exporter opens only when its handshake is complete; the server needs the
//! value one round trip earlier, with its first flight. The secret is there by then.

use hkdf::Hkdf;
use hkdf::hmac::EagerHash;
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroizing;

/// Of SHA-384, the longest that a TLS 1.3 suite has, in bytes.
const MAX_HASH_LEN: usize = 48;

/// `exporter_secret` of one TLS 1.3 connection, with the hash of its cipher suite.
///
/// Zeroized on drop; not printable.
#[derive(Clone)]
pub struct ExporterSecret {
    hash: SuiteHash,
    secret: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy)]
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

    /// `TLS-Exporter(label, context, out.len())`. TLS 1.3 makes no difference between an empty
    /// context and none.
    ///
    /// # Panics
    /// When `label` is longer than 249 bytes or `out` longer than 255 hashes: RFC 8446's
    /// encoding has no room for either. The protocol's own labels and lengths are constants.
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) {
        match self.hash {
            SuiteHash::Sha256 => tls_exporter::<Sha256>(&self.secret, label, context, out),
            SuiteHash::Sha384 => tls_exporter::<Sha384>(&self.secret, label, context, out),
        }
    }
}

fn tls_exporter<H>(secret: &[u8], label: &[u8], context: &[u8], out: &mut [u8])
where
    H: Digest + EagerHash,
{
    let mut derived = Zeroizing::new([0; MAX_HASH_LEN]);
    let derived = &mut derived[..<H as Digest>::output_size()];
    // Derive-Secret(secret, label, "")
    expand_label::<H>(secret, label, &H::digest([]), derived);
    expand_label::<H>(derived, b"exporter", &H::digest(context), out);
}

/// HKDF-Expand-Label (RFC 8446, section 7.1).
fn expand_label<H>(secret: &[u8], label: &[u8], context: &[u8], out: &mut [u8])
where
    H: EagerHash,
{
    const PREFIX: &[u8] = b"tls13 ";
    let length = u16::try_from(out.len()).expect("an exporter value is shorter than 64 KiB");
    let label_len =
        u8::try_from(PREFIX.len() + label.len()).expect("a label has at most 249 bytes");
    let context_len = u8::try_from(context.len()).expect("a hash has at most 64 bytes");
    Hkdf::<H>::from_prk(secret)
        .expect("a secret is as long as its hash")
        .expand_multi_info(
            &[
                &length.to_be_bytes(),
                &[label_len],
                PREFIX,
                label,
                &[context_len],
                context,
            ],
            out,
        )
        .expect("an exporter value is at most 255 hashes long");
}

#[cfg(test)]
mod tests;
