//! The input of targets that read both directions of a connection.

/// Pieces in their order, and whether the client sent each: a big-endian u16, whose highest bit says so
/// and whose other bits are the length, and the piece. The last one may be short.
pub fn pieces(mut data: &[u8]) -> Vec<(bool, &[u8])> {
    let mut pieces = Vec::new();
    while let Some((header, rest)) = data.split_first_chunk::<2>() {
        let header = u16::from_be_bytes(*header);
        let length = usize::from(header & 0x7fff).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        pieces.push((header & 0x8000 != 0, piece));
        data = rest;
    }
    pieces
}
