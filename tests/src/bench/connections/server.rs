//! The responses of the server.

use std::io;

use mtls_core::ServerStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::bench::server::Serve;

/// The size of a request's head and of a response, in bytes.
pub(super) const HEAD: usize = 8;
/// The size of the buffers for bulk data, in bytes.
pub(in crate::bench) const CHUNK: usize = 64 * 1024;

/// Reads requests and writes their responses, over TLS.
pub(in crate::bench) struct Requests;

impl Serve for Requests {
    async fn plain(stream: TlsStream<TcpStream>) -> io::Result<()> {
        respond(stream).await
    }

    async fn multipath(stream: ServerStream<TcpStream>) -> io::Result<()> {
        respond(stream).await
    }
}

/// A request is a number of bytes, and these bytes; the response is the number.
pub(in crate::bench) async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
) -> io::Result<()> {
    let mut head = [0; HEAD];
    loop {
        if stream.read_exact(&mut head).await.is_err() {
            // The client has closed.
            return Ok(());
        }
        let mut left = u64::from_be_bytes(head);
        let mut chunk = vec![0; if left == 0 { 0 } else { CHUNK }];
        while left > 0 {
            let read = stream.read(&mut chunk).await?;
            if read == 0 {
                return Ok(());
            }
            left = left.saturating_sub(read as u64);
        }
        stream.write_all(&head).await?;
        stream.flush().await?;
    }
}
