//! Headers of the PROXY protocol: arbitrary bytes, in pieces of any size.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::ReadBuf;

use super::*;

/// Bytes that were received, and the end of the connection after them.
struct Received<'a> {
    bytes: &'a [u8],
    /// The most bytes of one read.
    piece: usize,
}

impl AsyncRead for Received<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = self.piece.min(buffer.remaining()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(taken);
        buffer.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

impl Peek for Received<'_> {
    async fn peek(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let seen = self.piece.min(bytes.len()).min(self.bytes.len());
        bytes[..seen].copy_from_slice(&self.bytes[..seen]);
        Ok(seen)
    }
}

/// The client and the bytes after the header are the same in one piece and in many, and the header has
/// no byte more than it needs.
pub(crate) fn fuzz(data: &[u8]) {
    let whole = parsed(data, usize::MAX);
    assert_eq!(parsed(data, 1), whole);
    if let Ok((client, length)) = whole {
        assert!(length <= 16 + VERSION_2);
        assert_eq!(parsed(&data[..length], usize::MAX), Ok((client, length)));
        assert!(parsed(&data[..length - 1], usize::MAX).is_err());
    }
}

/// The client, and the length of the header.
fn parsed(bytes: &[u8], piece: usize) -> Result<(SocketAddr, usize), String> {
    let mut stream = Received { bytes, piece };
    let balancer = SocketAddr::from(([127, 0, 0, 1], 9));
    let client = client(&mut stream, balancer).now_or_never();
    let client = client.expect("bytes that are there");
    let length = bytes.len() - stream.bytes.len();
    client
        .map(|client| (client, length))
        .map_err(|error| error.to_string())
}
