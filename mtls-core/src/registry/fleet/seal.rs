//! Sealing: the engine holds and carries ciphertext (`docs/protocol.md`, section 9.8).

use std::fmt;

use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// The secret keys of a fleet: the one that seals, and others that open while keys are rotated.
///
/// A machine with a key can answer for every handshake of the fleet, so guard the keys like the
/// private key of the certificate. Zeroized on drop; not printable.
#[derive(Clone)]
pub struct FleetKeys(Vec<XChaCha20Poly1305>);

/// Error of reading the fleet keys of a file.
///
/// ```
/// use mtls_core::registry::fleet::{FleetKeys, FleetKeysError};
///
/// let error = FleetKeys::from_text("# the key of 2026\nnot hexadecimal").unwrap_err();
/// assert_eq!(error, FleetKeysError::NotAKey(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetKeysError {
    /// No key.
    Empty,
    /// More than [`FleetKeys::MAX`] keys.
    TooMany,
    /// A line, counted from 1, that is not 64 hexadecimal digits.
    NotAKey(usize),
}

/// A text that no key of the fleet opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotSealed;

const NONCE_LEN: usize = 24;

impl FleetKeys {
    /// The number of keys that a file may hold.
    pub const MAX: usize = 2;

    /// Length of a key in bytes.
    pub const KEY_LEN: usize = 32;

    /// One key.
    pub fn new(key: &[u8; Self::KEY_LEN]) -> Self {
        Self(vec![XChaCha20Poly1305::new(key.into())])
    }

    /// Accepts another key for opening.
    #[must_use]
    pub fn accept(mut self, key: &[u8; Self::KEY_LEN]) -> Self {
        self.0.push(XChaCha20Poly1305::new(key.into()));
        self
    }

    /// Reads keys of 64 hexadecimal digits, one on each line. The first seals; all open. Blank
    /// lines and lines that start with `#` are ignored.
    ///
    /// # Errors
    /// [`FleetKeysError`] without any part of the text.
    pub fn from_text(text: &str) -> Result<Self, FleetKeysError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = key_from_hex(line).ok_or(FleetKeysError::NotAKey(index + 1))?;
            keys.push(XChaCha20Poly1305::new((&*key).into()));
        }
        match keys.len() {
            0 => Err(FleetKeysError::Empty),
            1..=Self::MAX => Ok(Self(keys)),
            _ => Err(FleetKeysError::TooMany),
        }
    }

    /// Nonce and ciphertext; `None` when the system gives no random bytes.
    pub(super) fn seal(&self, context: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let nonce = XNonce::try_generate().ok()?;
        let payload = Payload {
            msg: text,
            aad: context,
        };
        let sealed = self.0.first()?.encrypt(&nonce, payload).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// The text that a machine of the fleet sealed with this context.
    pub(super) fn open(
        &self,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotSealed> {
        let (nonce, msg) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(NotSealed)?;
        let open = |key: &XChaCha20Poly1305| {
            let payload = Payload { msg, aad: context };
            key.decrypt(nonce.into(), payload).ok()
        };
        self.0
            .iter()
            .find_map(open)
            .map(Zeroizing::new)
            .ok_or(NotSealed)
    }
}

fn key_from_hex(line: &str) -> Option<Zeroizing<[u8; FleetKeys::KEY_LEN]>> {
    let mut key = Zeroizing::new([0; FleetKeys::KEY_LEN]);
    if line.len() != 2 * key.len() || !line.is_ascii() {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(line.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(key)
}

impl fmt::Debug for FleetKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetKeys(..)")
    }
}

impl fmt::Display for FleetKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no key: expected a line of 64 hexadecimal digits"),
            Self::TooMany => write!(
                f,
                "more than {} keys: remove those that no machine uses",
                FleetKeys::MAX
            ),
            Self::NotAKey(line) => write!(f, "line {line}: expected 64 hexadecimal digits"),
        }
    }
}

impl std::error::Error for FleetKeysError {}
