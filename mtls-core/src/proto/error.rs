//! Errors of the sans-IO machines: one variant for each check.

mod hello;

use core::fmt;

pub use self::hello::HelloError;

/// Bytes on a side connection that are not the side protocol, version 1
/// (`docs/protocol.md`, section 5).
///
/// ```
/// use mtls_core::proto::error::FrameError;
/// use mtls_core::proto::frame::FrameReader;
///
/// let mut reader = FrameReader::new();
/// let error = reader.read(b"HTTP/1.1 400 Bad Request", |_| {});
/// assert_eq!(error, Err(FrameError::NotTheGreeting));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// The first bytes are not [`GREETING`](super::frame::GREETING): the peer does not speak the
    /// side protocol.
    NotTheGreeting,
    /// A frame type that this version does not have.
    UnknownType(u8),
    /// A frame body beyond [`MAX_FRAME_BODY`](super::limits::MAX_FRAME_BODY).
    TooLong {
        /// The frame type.
        kind: u8,
        /// The announced length, in bytes.
        len: usize,
    },
    /// A frame body that ends before this field does.
    MissingField {
        /// The frame type.
        kind: u8,
        /// The field's name in the specification.
        field: &'static str,
    },
    /// A frame body with bytes after its last field.
    TrailingBytes {
        /// The frame type.
        kind: u8,
        /// Their number.
        trailing: usize,
    },
    /// A Proof whose binding is not exactly one that this version knows.
    UnknownBinding(u8),
    /// A Reject whose code this version does not know.
    UnknownCode(u16),
    /// The connection ended inside the greeting or a frame.
    Truncated {
        /// Bytes of the incomplete part.
        pending: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTheGreeting => {
                f.write_str("the peer's first bytes are not the greeting `MTLS/1`")
            }
            Self::UnknownType(kind) => write!(f, "expected a frame type from 1 to 5, got {kind}"),
            Self::TooLong { kind, len } => {
                write!(
                    f,
                    "a frame of type {kind} has {len} bytes, at most 512 are allowed"
                )
            }
            Self::MissingField { kind, field } => {
                write!(f, "a frame of type {kind} ends before its field `{field}`")
            }
            Self::TrailingBytes { kind, trailing } => {
                write!(
                    f,
                    "a frame of type {kind} has {trailing} bytes after its last field"
                )
            }
            Self::UnknownBinding(bit) => {
                write!(
                    f,
                    "expected one binding of 0x01 and 0x02 in a Proof, got {bit:#04x}"
                )
            }
            Self::UnknownCode(code) => write!(f, "expected a Reject code from 1 to 8, got {code}"),
            Self::Truncated { pending } => {
                write!(
                    f,
                    "the side connection ended {pending} bytes into a greeting or frame"
                )
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// A violation of the protocol by a server on a side connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SideMisbehaved {
    /// A frame that is not valid.
    InvalidFrame,
    /// Open, Confirm or Done, which only clients send.
    ClientFrameFromServer,
    /// A Proof for which there is no live Open.
    ProofWithoutOpen,
    /// A second Proof for one Open.
    SecondProof,
    /// A binding that the Open did not offer.
    BindingNotOffered,
    /// Reject(unknown) that no Done had asked for.
    UnknownWithoutDone,
}

impl fmt::Display for SideMisbehaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidFrame => "a frame that is not valid",
            Self::ClientFrameFromServer => "a frame that only clients send",
            Self::ProofWithoutOpen => "a Proof without an Open",
            Self::SecondProof => "a second Proof for one Open",
            Self::BindingNotOffered => "a binding that was not offered",
            Self::UnknownWithoutDone => "Reject(unknown) before a Done",
        })
    }
}
