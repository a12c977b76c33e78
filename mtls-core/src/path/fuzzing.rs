//! Answers of proxies: arbitrary bytes, in pieces of any size.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::error::ProxyRefusal;
use super::{http_connect, socks5};

/// Bytes that were received, and the end of the connection after them. Bytes that are written are dropped.
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

impl AsyncWrite for Received<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn target() -> Endpoint {
    "example.org:443".parse().expect("an endpoint")
}

/// The answers of a SOCKS5 proxy: the result, and the number of bytes that were read, do not depend
/// on the pieces, and nothing after the reply is read.
pub(crate) fn fuzz_socks5(data: &[u8]) {
    let (&first, bytes) = data.split_first().unwrap_or((&0, &[]));
    let credentials = (first & 1 != 0).then(|| Credentials::new("user", "password"));
    let credentials = credentials.transpose().expect("credentials");
    let whole = socks5(bytes, usize::MAX, credentials.as_ref());
    assert_eq!(socks5(bytes, 1, credentials.as_ref()), whole);
    if let (Ok(()), read) = whole {
        assert!(
            socks5(&bytes[..read], usize::MAX, credentials.as_ref())
                .0
                .is_ok()
        );
        assert!(
            socks5(&bytes[..read - 1], usize::MAX, credentials.as_ref())
                .0
                .is_err()
        );
    }
}

fn socks5(
    bytes: &[u8],
    piece: usize,
    credentials: Option<&Credentials>,
) -> (Result<(), String>, usize) {
    let mut stream = Received { bytes, piece };
    let asked = socks5::connect(&mut stream, &target(), credentials).now_or_never();
    let result = asked
        .expect("bytes that are there")
        .map_err(|refusal| text(&refusal));
    (result, bytes.len() - stream.bytes.len())
}

/// The answer of an HTTP proxy: the same whatever the pieces, and nothing after the head is taken.
pub(crate) fn fuzz_http_connect(data: &[u8]) {
    let whole = http_connect::parse_pieces(data, usize::MAX);
    let pieces = http_connect::parse_pieces(data, 1);
    match (whole, pieces) {
        (Ok((status, taken)), pieces) => {
            assert_eq!(pieces.ok(), Some((status, taken)));
            assert!((200..300).contains(&status));
            assert!(data[..taken].ends_with(b"\r\n\r\n"));
        }
        // The reason may differ: a byte that cannot be HTTP is noticed earlier.
        (Err(_), pieces) => assert!(pieces.is_err()),
    }
}

fn text(refusal: &ProxyRefusal) -> String {
    refusal.to_string()
}
