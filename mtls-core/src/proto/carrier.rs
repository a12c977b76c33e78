//! The framing of a TLS connection and its side exchange inside one Multipath TCP connection
//! (`docs/protocol.md`, section 15), without I/O.

use core::fmt;

/// The first bytes of each end (`docs/protocol.md`, section 15.1). The first one differs from that
/// of a TLS record and from that of a side connection, so that one port can take all three.
pub const CARRIER_GREETING: [u8; 8] = *b"JOIN/1\r\n";

/// The length of a chunk's header.
pub const CHUNK_HEADER: usize = 3;

/// The longest part of the TLS connection in a chunk, in bytes.
pub const MAX_TLS_CHUNK: usize = 16 * 1024;

/// The longest part of the side exchange in a chunk, in bytes.
pub const MAX_SIDE_CHUNK: usize = 1024;

/// The most bytes of the side exchange in each direction: that of one handshake is far shorter.
pub const MAX_SIDE_BYTES: usize = 8 * 1024;

/// The most chunks of the side exchange in each direction: an end has its kernel's counters read for
/// each of them.
pub const MAX_SIDE_CHUNKS: usize = 8;

/// A chunk, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chunk {
    /// Bytes of the TLS connection, for the first subflow.
    Tls(usize),
    /// Bytes of the side exchange, for the second subflow.
    Side(usize),
    /// The end of the framing in this direction: all further bytes are those of the TLS connection.
    Switch(Exchange),
}

/// An end's result of the side exchange, in a [`Chunk::Switch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// All bytes used the subflow that they were meant for.
    Matched = 0,
    /// Others did, without a sign of loss.
    Mismatched = 1,
    /// Others did, after a loss: the kernel has sent bytes of one subflow again on the other.
    Lossy = 2,
    /// There was no exchange.
    Absent = 3,
}

/// Error of the framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CarrierError {
    /// The first bytes are not the [greeting](CARRIER_GREETING).
    NotTheGreeting,
    /// A chunk type that this version does not have.
    UnknownType(u8),
    /// A chunk that is empty, or longer than its type allows.
    Length {
        /// The chunk type.
        kind: u8,
        /// The announced length, in bytes.
        len: usize,
    },
    /// More bytes or chunks of the side exchange than any needs.
    TooMuch,
}

const TLS: u8 = 1;
const SIDE: u8 = 2;
const SWITCH: u8 = 3;

impl Chunk {
    /// The header of the chunk.
    ///
    /// # Panics
    /// If the length does not fit: it is bounded by the constants of this module.
    #[must_use]
    pub fn header(self) -> [u8; CHUNK_HEADER] {
        let (kind, value) = match self {
            Self::Tls(len) => (TLS, len),
            Self::Side(len) => (SIDE, len),
            Self::Switch(exchange) => (SWITCH, exchange as usize),
        };
        let [high, low] = u16::try_from(value)
            .expect("a bounded length")
            .to_be_bytes();
        [kind, high, low]
    }

    /// Reads a header.
    ///
    /// # Errors
    /// If this version has no such chunk. The connection must end.
    pub fn parse(header: [u8; CHUNK_HEADER]) -> Result<Self, CarrierError> {
        let [kind, high, low] = header;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let length = CarrierError::Length { kind, len };
        match kind {
            TLS if (1..=MAX_TLS_CHUNK).contains(&len) => Ok(Self::Tls(len)),
            SIDE if (1..=MAX_SIDE_CHUNK).contains(&len) => Ok(Self::Side(len)),
            SWITCH => Exchange::from_number(len).map(Self::Switch).ok_or(length),
            TLS | SIDE => Err(length),
            other => Err(CarrierError::UnknownType(other)),
        }
    }
}

impl Exchange {
    fn from_number(number: usize) -> Option<Self> {
        let all = [Self::Matched, Self::Mismatched, Self::Lossy, Self::Absent];
        all.get(number).copied()
    }
}

impl fmt::Display for CarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTheGreeting => f.write_str(
                "the first bytes are not the greeting of the side exchange inside Multipath TCP",
            ),
            Self::UnknownType(kind) => write!(f, "a chunk of type {kind}, expected 1, 2 or 3"),
            Self::Length { kind, len } => {
                write!(
                    f,
                    "a chunk of type {kind} with the length {len}, which it cannot have"
                )
            }
            Self::TooMuch => write!(
                f,
                "more than {MAX_SIDE_BYTES} bytes or {MAX_SIDE_CHUNKS} chunks of a side exchange"
            ),
        }
    }
}

impl core::error::Error for CarrierError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_read_as_it_was_written() {
        for chunk in [
            Chunk::Tls(1),
            Chunk::Tls(MAX_TLS_CHUNK),
            Chunk::Side(1),
            Chunk::Side(MAX_SIDE_CHUNK),
            Chunk::Switch(Exchange::Matched),
            Chunk::Switch(Exchange::Mismatched),
            Chunk::Switch(Exchange::Lossy),
            Chunk::Switch(Exchange::Absent),
        ] {
            assert_eq!(Chunk::parse(chunk.header()), Ok(chunk));
        }
    }

    #[test]
    fn chunks_that_this_version_does_not_have_are_refused() {
        let length = |kind, len| Err(CarrierError::Length { kind, len });
        for (header, expected) in [
            ([0, 0, 1], Err(CarrierError::UnknownType(0))),
            ([4, 0, 1], Err(CarrierError::UnknownType(4))),
            ([22, 3, 1], Err(CarrierError::UnknownType(22))),
            ([1, 0, 0], length(1, 0)),
            ([1, 0x40, 1], length(1, MAX_TLS_CHUNK + 1)),
            ([2, 0, 0], length(2, 0)),
            ([2, 4, 1], length(2, MAX_SIDE_CHUNK + 1)),
            ([3, 0, 4], length(3, 4)),
        ] {
            assert_eq!(Chunk::parse(header), expected, "{header:?}");
        }
    }

    #[test]
    fn the_greeting_begins_neither_tls_nor_a_side_connection() {
        let first = CARRIER_GREETING[0];
        assert_ne!(first, 22);
        assert_ne!(first, super::super::frame::GREETING[0]);
    }
}
