//! The boundaries of HTTP/3 frames in a stream of bytes (RFC 9114, section 7.1).

use std::fmt;

use bytes::{Buf, Bytes};
use h3::error::Code;

/// Types of frames (RFC 9114, section 7.2).
const DATA: u64 = 0x00;
/// Those that `h3` knows, and those of HTTP/2 that it refuses.
const KNOWN: [u64; 11] = [
    DATA, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0d,
];
/// A frame without a length, of an extension that is never offered
/// (draft-ietf-webtrans-http3, section 4.2).
const WEBTRANSPORT: u64 = 0x41;
/// The type of a control stream (RFC 9114, section 6.2).
const CONTROL: u64 = 0x00;

/// Follows the frames of one stream.
#[derive(Debug)]
pub(super) struct Frames {
    max_frame: u64,
    state: State,
    /// The beginning of a stream type, or of a frame's type and length.
    head: Vec<u8>,
    /// Unknown frames are dropped. Not on a control stream, whose first frame must be a known one.
    skips_unknown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The type of a unidirectional stream.
    StreamType,
    /// No frames: the bytes pass.
    Opaque,
    /// The type and length of a frame.
    Head,
    /// So many bytes of a frame pass.
    Payload(u64),
    /// So many bytes of a frame are dropped.
    Skip(u64),
}

/// A stream that `h3` must not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameError {
    /// A frame of this length.
    TooLong(u64),
    /// A frame of an extension that was not offered.
    WebTransport,
    /// The stream ends within a frame.
    Incomplete,
}

impl FrameError {
    pub(super) fn code(self) -> Code {
        match self {
            Self::TooLong(_) => Code::H3_EXCESSIVE_LOAD,
            Self::WebTransport => Code::H3_FRAME_UNEXPECTED,
            Self::Incomplete => Code::H3_FRAME_ERROR,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(length) => write!(f, "a frame of {length} bytes exceeds the limit"),
            Self::WebTransport => f.write_str("a frame of WebTransport, which was not offered"),
            Self::Incomplete => f.write_str("the stream ends within a frame"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Frames {
    /// Of a request or a response.
    pub(super) fn of_request(max_frame: u64) -> Self {
        Self {
            max_frame,
            state: State::Head,
            head: Vec::new(),
            skips_unknown: true,
        }
    }

    /// Of a stream that begins with its type.
    pub(super) fn unidirectional(max_frame: u64) -> Self {
        Self {
            state: State::StreamType,
            skips_unknown: false,
            ..Self::of_request(max_frame)
        }
    }

    /// Takes bytes from the front of `received`, which is not empty; returns those that pass.
    ///
    /// # Errors
    /// At a frame that is refused.
    pub(super) fn next(&mut self, received: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        match self.state {
            State::Opaque => Ok(Some(received.split_off(0))),
            State::Payload(left) => {
                let passed = split_front(received, left);
                self.state = after(left - passed.len() as u64, State::Payload);
                Ok(Some(passed))
            }
            State::Skip(left) => {
                let skipped = split_front(received, left);
                self.state = after(left - skipped.len() as u64, State::Skip);
                Ok(None)
            }
            State::StreamType => Ok(self.stream_type(received)),
            State::Head => self.frame_head(received),
        }
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// Within a frame.
    pub(super) fn end(&self) -> Result<(), FrameError> {
        let is_between = matches!(self.state, State::Head | State::StreamType | State::Opaque);
        match is_between && self.head.is_empty() {
            true => Ok(()),
            false => Err(FrameError::Incomplete),
        }
    }

    fn stream_type(&mut self, received: &mut Bytes) -> Option<Bytes> {
        self.head.push(received.get_u8());
        let (kind, _) = varint(&self.head)?;
        self.state = match kind {
            CONTROL => State::Head,
            _ => State::Opaque,
        };
        Some(std::mem::take(&mut self.head).into())
    }

    fn frame_head(&mut self, received: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        self.head.push(received.get_u8());
        let Some((kind, rest)) = varint(&self.head) else {
            return Ok(None);
        };
        if kind == WEBTRANSPORT {
            return Err(FrameError::WebTransport);
        }
        let Some((length, _)) = varint(rest) else {
            return Ok(None);
        };
        let head = std::mem::take(&mut self.head);
        if kind == DATA && length == 0 {
            return Ok(None);
        }
        if self.skips_unknown && !KNOWN.contains(&kind) {
            self.state = after(length, State::Skip);
            return Ok(None);
        }
        if kind != DATA && length > self.max_frame {
            return Err(FrameError::TooLong(length));
        }
        self.state = after(length, State::Payload);
        Ok(Some(head.into()))
    }
}

/// The state with so many bytes left of a frame.
fn after(left: u64, within: fn(u64) -> State) -> State {
    match left {
        0 => State::Head,
        left => within(left),
    }
}

/// Up to `length` bytes.
fn split_front(received: &mut Bytes, length: u64) -> Bytes {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    received.split_to(length.min(received.len()))
}

/// A variable-length integer, and the bytes after it (RFC 9000, section 16). `None` if it is incomplete.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let number = number
        .iter()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let bits = 8 * (1 << (first >> 6)) - 2;
    Some((number & ((1 << bits) - 1), rest))
}

/// The bytes that pass, and the error, are the same in one piece and in many.
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) fn fuzz(data: &[u8]) {
    let (&first, bytes) = data.split_first().unwrap_or((&0, &[]));
    let new = match first & 1 {
        0 => Frames::of_request,
        _ => Frames::unidirectional,
    };
    let max_frame = u64::from(first);
    let whole = passed(new(max_frame), bytes, usize::MAX);
    assert_eq!(passed(new(max_frame), bytes, 1), whole);
    assert_eq!(passed(new(max_frame), bytes, 7), whole);
    let (passed, _) = whole;
    assert!(passed.len() <= bytes.len());
}

#[cfg(any(test, feature = "__fuzzing"))]
fn passed(mut frames: Frames, bytes: &[u8], piece: usize) -> (Vec<u8>, Result<(), FrameError>) {
    let mut passed = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut piece = Bytes::copy_from_slice(piece);
        while piece.has_remaining() {
            match frames.next(&mut piece) {
                Ok(next) => passed.extend(next.unwrap_or_default()),
                Err(error) => return (passed, Err(error)),
            }
            // The type and the length of a frame are two numbers of at most eight bytes.
            assert!(frames.head.len() < 16);
        }
    }
    let end = frames.end();
    (passed, end)
}
