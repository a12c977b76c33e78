//! The digest at the end of evidence.
//!
//! It shows damage, and changes by a person who does not compute it again. It has no key, so it
//! authenticates no reporter.

use crate::verdict::hex_sha256;

/// Stands before the digest, which covers every byte up to its own first digit.
const BEFORE: &str = ",\n  \"sha256\": \"";
const AFTER: &str = "\"\n}\n";

/// Adds the digest to an object that `serde_json` has written.
pub(super) fn sealed(mut json: Vec<u8>) -> Vec<u8> {
    let end = json.trim_ascii_end().strip_suffix(b"}");
    let length = end.map_or(json.len(), |object| object.trim_ascii_end().len());
    json.truncate(length);
    json.extend_from_slice(BEFORE.as_bytes());
    let digest = hex_sha256(&json);
    json.extend_from_slice(digest.as_bytes());
    json.extend_from_slice(AFTER.as_bytes());
    json
}

/// Whether the bytes end with their digest, in exactly this form.
#[cfg(any(test, feature = "evidence"))]
pub(super) fn is_intact(json: &[u8]) -> bool {
    const DIGITS: usize = 64;
    let digest = json
        .strip_suffix(AFTER.as_bytes())
        .and_then(|json| json.split_last_chunk::<DIGITS>());
    digest.is_some_and(|(covered, digest)| {
        covered.ends_with(BEFORE.as_bytes()) && hex_sha256(covered).as_bytes() == digest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_modified_byte_is_noticed() {
        let json = sealed(b"{\n  \"schema\": 2\n}".to_vec());
        assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        assert!(is_intact(&json));
        for at in 0..json.len() {
            for change in 1..=u8::MAX {
                let mut changed = json.clone();
                changed[at] ^= change;
                assert!(!is_intact(&changed), "byte {at}");
            }
        }
        for length in 0..json.len() {
            assert!(!is_intact(&json[..length]));
        }
        assert!(!is_intact(&[&json[..], b"\n"].concat()));
    }
}
