//! The TLS 1.3 exporter, computed from an exporter secret (RFC 8446, section 7.5;
//! `docs/protocol.md`, section 4.2).
//!
//! The exporter of a TLS stack works only once its handshake is complete. A server needs the value
//! one round trip earlier, with its first flight; the exporter secret exists by then.

use hkdf::Hkdf;
use hkdf::hmac::EagerHash;
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroizing;

/// Output of SHA-384, the longest that a TLS 1.3 suite has, in bytes.
const MAX_HASH_LEN: usize = 48;

/// Fills `out` with `TLS-Exporter(label, context, out.len())`. In TLS 1.3 an empty context equals
/// none.
///
/// The length of `exporter_secret` determines the hash of the cipher suite: the suites of RFC 8446 use
/// SHA-256 (32 bytes) and SHA-384 (48 bytes). `None` for any other length; `out` is unchanged then.
///
/// # Panics
/// If `label` is longer than 249 bytes or `out` longer than 255 hashes: RFC 8446's encoding has
/// no room for either.
pub fn tls_exporter(
    exporter_secret: &[u8],
    label: &[u8],
    context: &[u8],
    out: &mut [u8],
) -> Option<()> {
    match exporter_secret.len() {
        32 => export::<Sha256>(exporter_secret, label, context, out),
        48 => export::<Sha384>(exporter_secret, label, context, out),
        _ => return None,
    }
    Some(())
}

fn export<H>(secret: &[u8], label: &[u8], context: &[u8], out: &mut [u8])
where
    H: Digest + EagerHash,
{
    let mut derived = Zeroizing::new([0; MAX_HASH_LEN]);
    let derived = &mut derived[..<H as Digest>::output_size()];
    let empty = H::digest([]);
    // Derive-Secret(secret, label, "")
    expand_label::<H>(secret, label, &empty, derived);
    let context = match context {
        [] => empty,
        context => H::digest(context),
    };
    expand_label::<H>(derived, b"exporter", &context, out);
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
