//! The frames of the side protocol and their encodings, nothing else
//! (`docs/protocol.md`, section 5).

use super::binding::{Association, Binding, Bindings, Nonce, Value};
use super::error::FrameError;
use super::limits::MAX_FRAME_BODY;

/// The first bytes of each end on a side connection (`docs/protocol.md`, section 5.1). Its first byte differs from that of every
/// TLS record, so that one port can take both.
pub const GREETING: [u8; 8] = *b"MTLS/1\r\n";

const HEADER_LEN: usize = 3;

/// One frame: an association and what is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The handshake that the frame is about.
    pub association: Association,
    /// The content.
    pub body: FrameBody,
}

/// The content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameBody {
    /// Client: asks for a proof; sent at once when connected.
    Open {
        /// The client's nonce.
        nonce_c: Nonce,
        /// The bindings that the client offers.
        bindings: Bindings,
    },
    /// Server: its value, sent when its first flight has been flushed.
    Proof {
        /// The server's nonce.
        nonce_s: Nonce,
        /// The one binding chosen.
        binding: Binding,
        /// The server's value.
        value: Value,
    },
    /// Client: its own value, sent when TLS is complete and the Proof checked.
    Confirm {
        /// The client's value.
        value: Value,
    },
    /// Client: "TLS is complete and I have no Proof yet".
    Done,
    /// Either end: refuses, for this association only.
    Reject {
        /// The reason.
        code: RejectCode,
    },
}

/// The reasons a Reject can give (`docs/protocol.md`, section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RejectCode {
    /// No such handshake is known; only ever in answer to Done.
    Unknown = 1,
    /// The Open came before its handshake and has waited long enough.
    EarlyWaitExpired = 2,
    /// A bound was reached.
    Busy = 3,
    /// The registry did not answer.
    RegistryUnavailable = 4,
    /// No binding that the client offered is available.
    NoCommonBinding = 5,
    /// A frame that cannot be right.
    Malformed = 6,
    /// The value in Confirm differs from the server's own.
    WrongValue = 7,
    /// The handshake is known, but it was not TLS 1.3.
    NotTls13 = 8,
}

impl RejectCode {
    fn from_u16(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Unknown,
            2 => Self::EarlyWaitExpired,
            3 => Self::Busy,
            4 => Self::RegistryUnavailable,
            5 => Self::NoCommonBinding,
            6 => Self::Malformed,
            7 => Self::WrongValue,
            8 => Self::NotTls13,
            _ => return None,
        })
    }
}

const OPEN: u8 = 1;
const PROOF: u8 = 2;
const CONFIRM: u8 = 3;
const DONE: u8 = 4;
const REJECT: u8 = 5;

impl Frame {
    /// Appends the encoding to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, len) = match self.body {
            FrameBody::Open { .. } => (OPEN, 49),
            FrameBody::Proof { .. } => (PROOF, 81),
            FrameBody::Confirm { .. } => (CONFIRM, 48),
            FrameBody::Done => (DONE, 16),
            FrameBody::Reject { .. } => (REJECT, 18),
        };
        out.push(kind);
        out.extend_from_slice(&u16::to_be_bytes(len));
        out.extend_from_slice(&self.association.0);
        match &self.body {
            FrameBody::Open { nonce_c, bindings } => {
                out.extend_from_slice(nonce_c);
                out.push(bindings.0);
            }
            FrameBody::Proof {
                nonce_s,
                binding,
                value,
            } => {
                out.extend_from_slice(nonce_s);
                out.push(*binding as u8);
                out.extend_from_slice(&value.0);
            }
            FrameBody::Confirm { value } => out.extend_from_slice(&value.0),
            FrameBody::Done => {}
            FrameBody::Reject { code } => out.extend_from_slice(&(*code as u16).to_be_bytes()),
        }
    }

    /// Reads one frame from the start of `input`.
    ///
    /// `Ok(None)` means that more bytes are needed; otherwise the frame and how many bytes it
    /// took.
    ///
    /// # Errors
    /// If the input cannot be the start of a frame of this version. The side connection must end,
    /// because the start of the next frame is unknown.
    pub fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((&kind, rest)) = input.split_first() else {
            return Ok(None);
        };
        if !(OPEN..=REJECT).contains(&kind) {
            return Err(FrameError::UnknownType(kind));
        }
        let Some((&len, rest)) = rest.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(len));
        if len > MAX_FRAME_BODY {
            return Err(FrameError::TooLong { kind, len });
        }
        let Some(body) = rest.get(..len) else {
            return Ok(None);
        };
        let mut reader = Reader { kind, rest: body };
        let association = Association(reader.take("association")?);
        let body = FrameBody::decode(kind, &mut reader)?;
        reader.finish()?;
        Ok(Some((Self { association, body }, HEADER_LEN + len)))
    }
}

impl FrameBody {
    fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(match kind {
            OPEN => Self::Open {
                nonce_c: reader.take("nonce_c")?,
                bindings: Bindings(reader.take::<1>("bindings")?[0]),
            },
            PROOF => Self::Proof {
                nonce_s: reader.take("nonce_s")?,
                binding: {
                    let [bit] = reader.take("binding")?;
                    Binding::from_bit(bit).ok_or(FrameError::UnknownBinding(bit))?
                },
                value: Value(reader.take("value")?),
            },
            CONFIRM => Self::Confirm {
                value: Value(reader.take("value")?),
            },
            DONE => Self::Done,
            REJECT => Self::Reject {
                code: {
                    let code = u16::from_be_bytes(reader.take("code")?);
                    RejectCode::from_u16(code).ok_or(FrameError::UnknownCode(code))?
                },
            },
            other => return Err(FrameError::UnknownType(other)),
        })
    }
}

/// Takes fields of a fixed length and refuses what is missing or left over.
struct Reader<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FrameError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(FrameError::MissingField {
                kind: self.kind,
                field,
            })?;
        self.rest = rest;
        Ok(*head)
    }

    fn finish(self) -> Result<(), FrameError> {
        match self.rest.len() {
            0 => Ok(()),
            trailing => Err(FrameError::TrailingBytes {
                kind: self.kind,
                trailing,
            }),
        }
    }
}

/// Turns the bytes that one side connection delivers into the greeting and then frames.
///
/// Bounded: it keeps at most one incomplete frame between calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameReader {
    greeted: bool,
    buffer: Vec<u8>,
}

impl FrameReader {
    /// A reader that expects the greeting first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether the peer's greeting has been read.
    pub fn greeted(&self) -> bool {
        self.greeted
    }

    /// Takes bytes from the peer and hands each complete frame to `each`, in order.
    ///
    /// # Errors
    /// [`FrameError::NotTheGreeting`] when the first bytes are not [`GREETING`], otherwise what
    /// [`Frame::decode`] refuses. Frames before the bad one have been handed on; the reader must
    /// not be used again.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(Frame)) -> Result<(), FrameError> {
        self.buffer.extend_from_slice(bytes);
        let mut consumed = 0;
        if !self.greeted {
            let common = self.buffer.len().min(GREETING.len());
            if self.buffer[..common] != GREETING[..common] {
                return Err(FrameError::NotTheGreeting);
            }
            if common < GREETING.len() {
                return Ok(());
            }
            self.greeted = true;
            consumed = common;
        }
        while let Some((frame, len)) = Frame::decode(&self.buffer[consumed..])? {
            consumed += len;
            each(frame);
        }
        self.buffer.drain(..consumed);
        Ok(())
    }

    /// The peer has closed.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] when that leaves an incomplete greeting or frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() {
            0 => Ok(()),
            pending => Err(FrameError::Truncated { pending }),
        }
    }
}
