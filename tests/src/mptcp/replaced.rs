//! One direction of a subflow whose TLS bytes are replaced by as many others.

use std::collections::VecDeque;

use mtls_core::proto::carrier::{CARRIER_GREETING, CHUNK_HEADER, Chunk};

use crate::link::segment::{SYN, Segment};

/// The length of a TLS record's header.
const RECORD_HEADER: usize = 5;

/// The bytes of one direction, with the framing of a side exchange inside the connection if it has any. The
/// framing goes on as it is, and segments wait until there are other bytes for all of their TLS bytes.
#[derive(Debug, Default)]
pub(super) struct ReplacedStream {
    /// The sequence number of the first byte.
    first: u32,
    /// The bytes so far, and whether each is one of TLS.
    genuine: Vec<(u8, bool)>,
    framing: Framing,
    /// TLS bytes of an incomplete record.
    record: Vec<u8>,
    /// Other TLS bytes, which have no place yet.
    others: VecDeque<u8>,
    /// The bytes that go on, from the first one.
    replaced: Vec<u8>,
    waiting: VecDeque<Segment>,
}

/// The part that the next byte belongs to.
#[derive(Debug, Default)]
enum Framing {
    /// The first byte decides.
    #[default]
    Start,
    Greeting(usize),
    Header(Vec<u8>),
    /// This number of TLS bytes until the next header.
    Tls(usize),
    Unframed,
}

impl Framing {
    /// Takes a byte; whether it is one of TLS.
    fn take(&mut self, byte: u8) -> bool {
        let (next, is_tls) = match std::mem::take(self) {
            Self::Start if byte == CARRIER_GREETING[0] => {
                (Self::Greeting(CARRIER_GREETING.len() - 1), false)
            }
            Self::Start | Self::Unframed => (Self::Unframed, true),
            Self::Greeting(1) => (Self::Header(Vec::new()), false),
            Self::Greeting(left) => (Self::Greeting(left - 1), false),
            Self::Header(mut header) => {
                header.push(byte);
                (Self::after(header), false)
            }
            Self::Tls(1) => (Self::Header(Vec::new()), true),
            Self::Tls(left) => (Self::Tls(left - 1), true),
        };
        *self = next;
        is_tls
    }

    fn after(header: Vec<u8>) -> Self {
        let Ok(complete) = <[u8; CHUNK_HEADER]>::try_from(&header[..]) else {
            return Self::Header(header);
        };
        match Chunk::parse(complete) {
            Ok(Chunk::Tls(len)) => Self::Tls(len),
            // The others are not on the first subflow, or end the framing.
            _ => Self::Unframed,
        }
    }
}

impl ReplacedStream {
    /// Reads the bytes of a segment that are new; the TLS records that are complete now.
    pub(super) fn read(&mut self, segment: &Segment) -> Vec<Vec<u8>> {
        if segment.flags & SYN != 0 {
            self.first = segment.sequence.wrapping_add(1);
        }
        let known = self.genuine.len();
        let new = known.checked_sub(self.offset(segment));
        let new = new.and_then(|from| segment.data.get(from..));
        for &byte in new.unwrap_or_default() {
            let is_tls = self.framing.take(byte);
            self.genuine.push((byte, is_tls));
            self.record.extend(is_tls.then_some(byte));
        }
        let mut records = Vec::new();
        while let Some(len) = record_len(&self.record) {
            records.push(self.record.drain(..len).collect());
        }
        records
    }

    /// Adds TLS bytes that go on in place of others.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.others.extend(bytes);
    }

    /// The segments that can go on now, with their bytes replaced.
    pub(super) fn pass(&mut self, segment: Segment) -> Vec<Segment> {
        if segment.data.is_empty() {
            return vec![segment];
        }
        self.waiting.push_back(segment);
        for &(byte, is_tls) in &self.genuine[self.replaced.len()..] {
            let other = if is_tls {
                self.others.pop_front()
            } else {
                Some(byte)
            };
            let Some(other) = other else {
                break;
            };
            self.replaced.push(other);
        }
        let mut ready = Vec::new();
        while let Some(mut next) = self.waiting.pop_front() {
            let at = self.offset(&next);
            let Some(bytes) = self.replaced.get(at..at + next.data.len()) else {
                self.waiting.push_front(next);
                break;
            };
            next.data = bytes.to_vec();
            ready.push(next);
        }
        ready
    }

    /// The place of a segment's first byte.
    fn offset(&self, segment: &Segment) -> usize {
        segment.sequence.wrapping_sub(self.first) as usize
    }
}

/// The length of the record at the front, if it is complete.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let header: &[u8; RECORD_HEADER] = bytes.first_chunk()?;
    let len = RECORD_HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
    (bytes.len() >= len).then_some(len)
}
