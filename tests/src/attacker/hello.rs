//! Reading a victim's ClientHello before it is answered.

use std::io;

use mtls_core::proto::hello::HelloTap;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The length of the bytes before `random`: record header, handshake header, `legacy_version` (RFC 8446,
/// sections 5.1, 4 and 4.1.2).
const RANDOM_AT: usize = 5 + 4 + 2;
const PRE_SHARED_KEY: u16 = 41;

/// A ClientHello that has not been answered.
pub(super) struct Overheard {
    /// All that has come.
    pub(super) bytes: Vec<u8>,
    pub(super) random: [u8; 32],
    /// Does it offer to resume a session?
    pub(super) offers_ticket: bool,
}

/// Reads until the first ClientHello is complete.
pub(super) async fn overhear(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Overheard> {
    let mut tap = HelloTap::new();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while tap.association().is_none() {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..read]);
        tap.client_bytes(&buffer[..read])
            .map_err(io::Error::other)?;
    }
    let mut fields = Fields(&bytes);
    let parsed = fields.take(RANDOM_AT).and_then(|_| {
        let random = fields.take(32)?.try_into().ok()?;
        Some((random, fields.offers_ticket()?))
    });
    let (random, offers_ticket) = parsed.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Overheard {
        bytes,
        random,
        offers_ticket,
    })
}

/// The remainder of a message or packet.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn offers_ticket(&mut self) -> Option<bool> {
        self.take_vector::<1>()?; // legacy_session_id
        self.take_vector::<2>()?; // cipher_suites
        self.take_vector::<1>()?; // legacy_compression_methods
        let mut extensions = Fields(self.take_vector::<2>()?);
        while let Some(kind) = extensions.take(2) {
            if kind == PRE_SHARED_KEY.to_be_bytes() {
                return Some(true);
            }
            extensions.take_vector::<2>()?;
        }
        Some(false)
    }

    /// A vector with a length of `N` bytes.
    pub(super) fn take_vector<const N: usize>(&mut self) -> Option<&'a [u8]> {
        let length = self.take(N)?;
        let length = length
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        self.take(length)
    }

    /// An integer of variable length (RFC 9000, section 16).
    pub(super) fn take_varint(&mut self) -> Option<usize> {
        let &first = self.0.first()?;
        let bytes = self.take(1 << (first >> 6))?;
        let value = bytes
            .iter()
            .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        usize::try_from(value & (u64::MAX >> (66 - 8 * bytes.len()))).ok()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_variable_length_are_those_of_the_rfc() {
        // RFC 9000, appendix A.1.
        for (bytes, value) in [
            (&[0x25][..], 37),
            (&[0x40, 0x25], 37),
            (&[0x7b, 0xbd], 15_293),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
        ] {
            let mut fields = Fields(bytes);
            assert_eq!(fields.take_varint(), Some(value));
            assert!(fields.0.is_empty());
        }
        assert_eq!(Fields(&[0x7b]).take_varint(), None);
        assert_eq!(Fields(&[]).take_varint(), None);
    }
}
