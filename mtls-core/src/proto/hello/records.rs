//! The plaintext records of one direction (RFC 8446, section 5.1).

use core::mem;

use super::{HANDSHAKE_HEADER_LEN, HelloError, Role};

/// `type u8 | legacy_record_version u16 | length u16`, in bytes.
const RECORD_HEADER_LEN: usize = 5;

/// The longest `TLSPlaintext.fragment`, in bytes.
const MAX_PLAINTEXT_LEN: usize = 1 << 14;

/// The longest `TLSCiphertext.encrypted_record`, in bytes.
const MAX_CIPHERTEXT_LEN: usize = MAX_PLAINTEXT_LEN + 256;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Cuts a direction's bytes into events. It stores a record header or a handshake message only
/// while they are incomplete.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Records {
    from: Role,
    limit: usize,
    /// Bytes taken so far, at most `limit`.
    taken: usize,
    header: [u8; RECORD_HEADER_LEN],
    header_len: usize,
    /// Bytes of the open record that are still to come; its header is complete while above 0.
    record_left: usize,
    alert_level: u8,
    message: Vec<u8>,
}

/// An event of one direction.
pub(super) enum Event {
    /// The first byte of a handshake message, before the rest is stored.
    MessageStart {
        kind: u8,
    },
    /// A whole handshake message, with its header.
    Message {
        message: Vec<u8>,
        /// Did its last record end with it?
        record_ends: bool,
    },
    ChangeCipherSpec,
    Alert {
        level: u8,
        description: u8,
    },
    /// The header of a record whose content is skipped.
    ApplicationData,
}

impl Records {
    pub(super) fn new(from: Role, limit: usize) -> Self {
        Self {
            from,
            limit,
            taken: 0,
            header: [0; RECORD_HEADER_LEN],
            header_len: 0,
            record_left: 0,
            alert_level: 0,
            message: Vec::new(),
        }
    }

    /// The next event, with its bytes taken from the front of `input`; `None` when `input` is
    /// used up. How the bytes were cut into inputs makes no difference.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Event>, HelloError> {
        while !input.is_empty() {
            let event = match (self.record_left, self.header[0]) {
                (0, _) => self.read_header(input)?,
                (_, HANDSHAKE) => self.read_handshake(input)?,
                (_, CHANGE_CIPHER_SPEC) => self.read_change_cipher_spec(input)?,
                (_, ALERT) => self.read_alert(input)?,
                (left, _) => {
                    self.take_content(input, left)?;
                    None
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Begins a stretch of handshake messages without a record header: a part of QUIC's CRYPTO stream.
    pub(super) fn begin_crypto(&mut self, len: usize) {
        self.header[0] = HANDSHAKE;
        self.record_left = len;
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Frees the buffer.
    pub(super) fn clear(&mut self) {
        self.message = Vec::new();
    }

    fn read_header(&mut self, input: &mut &[u8]) -> Result<Option<Event>, HelloError> {
        let part = self.take(input, RECORD_HEADER_LEN - self.header_len)?;
        self.header[self.header_len..][..part.len()].copy_from_slice(part);
        self.header_len += part.len();
        if self.header_len < RECORD_HEADER_LEN {
            return Ok(None);
        }
        self.header_len = 0;
        let [kind, version @ .., len_high, len_low] = self.header;
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        self.check_header(kind, u16::from_be_bytes(version), len)?;
        self.record_left = len;
        Ok((kind == APPLICATION_DATA).then_some(Event::ApplicationData))
    }

    fn check_header(&self, kind: u8, version: u16, len: usize) -> Result<(), HelloError> {
        let from = self.from;
        let length_fits = match kind {
            CHANGE_CIPHER_SPEC => len == 1,
            ALERT => len == 2,
            HANDSHAKE => len <= MAX_PLAINTEXT_LEN,
            APPLICATION_DATA => len <= MAX_CIPHERTEXT_LEN,
            _ => return Err(HelloError::UnknownRecordType { from, kind }),
        };
        // The version is to be ignored (RFC 8446, section 5.1); its first byte has never been
        // other than 3, and tells TLS from what is not.
        if version >> 8 != 3 {
            return Err(HelloError::RecordVersion { from, version });
        }
        if len == 0 {
            return Err(HelloError::EmptyRecord { from });
        }
        if !length_fits {
            return Err(HelloError::RecordLength { from, kind, len });
        }
        if kind != HANDSHAKE && !self.message.is_empty() {
            return Err(HelloError::InterleavedRecord { from, kind });
        }
        Ok(())
    }

    fn read_handshake(&mut self, input: &mut &[u8]) -> Result<Option<Event>, HelloError> {
        if self.message.is_empty() {
            let start = self.take_content(input, 1)?;
            self.message.extend_from_slice(start);
            return Ok(start.first().map(|&kind| Event::MessageStart { kind }));
        }
        let part = self.take_content(input, self.message_left())?;
        self.message.extend_from_slice(part);
        match self.message_left() {
            0 => Ok(Some(Event::Message {
                message: mem::take(&mut self.message),
                record_ends: self.record_left == 0,
            })),
            // Even without the headers of further records.
            left if left > self.limit - self.taken => Err(self.limit_exceeded()),
            _ => Ok(None),
        }
    }

    /// Bytes that the message needs, as far as is known: of its header, then of all of it.
    fn message_left(&self) -> usize {
        let announced = match *self.message {
            [_, high, middle, low, ..] => u32::from_be_bytes([0, high, middle, low]) as usize,
            _ => 0,
        };
        HANDSHAKE_HEADER_LEN + announced - self.message.len()
    }

    fn read_change_cipher_spec(&mut self, input: &mut &[u8]) -> Result<Option<Event>, HelloError> {
        match *self.take_content(input, 1)? {
            [1] => Ok(Some(Event::ChangeCipherSpec)),
            [value, ..] => Err(HelloError::ChangeCipherSpecValue {
                from: self.from,
                value,
            }),
            [] => Ok(None),
        }
    }

    fn read_alert(&mut self, input: &mut &[u8]) -> Result<Option<Event>, HelloError> {
        // `level u8 | description u8` (RFC 8446, section 6).
        match *self.take_content(input, 1)? {
            [description] if self.record_left == 0 => Ok(Some(Event::Alert {
                level: self.alert_level,
                description,
            })),
            [level] => {
                self.alert_level = level;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn take_content<'a>(
        &mut self,
        input: &mut &'a [u8],
        most: usize,
    ) -> Result<&'a [u8], HelloError> {
        let content = self.take(input, most.min(self.record_left))?;
        self.record_left -= content.len();
        Ok(content)
    }

    /// Up to `most` bytes, of which there are some.
    fn take<'a>(&mut self, input: &mut &'a [u8], most: usize) -> Result<&'a [u8], HelloError> {
        let allowed = self.limit - self.taken;
        if allowed == 0 {
            return Err(self.limit_exceeded());
        }
        let (taken, rest) = input.split_at(most.min(allowed).min(input.len()));
        *input = rest;
        self.taken += taken.len();
        Ok(taken)
    }

    fn limit_exceeded(&self) -> HelloError {
        HelloError::LimitExceeded {
            from: self.from,
            limit: self.limit,
        }
    }
}
