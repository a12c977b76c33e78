//! The responses of the server: bytes in the clear after the TLS handshake.

use std::io;

use mtls_core::ServerStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::bench::connections::CHUNK;
use crate::bench::server::Serve;

/// The server's first byte after TLS.
pub(super) const READY: u8 = b'R';

/// A request: one of these bytes, and a number of bytes.
pub(super) const DOWNLOAD: u8 = b'D';
pub(super) const ECHO: u8 = b'E';

/// Reads requests and writes their responses, without TLS after the handshake.
pub(super) struct Transfers;

impl Serve for Transfers {
    async fn plain(stream: TlsStream<TcpStream>) -> io::Result<()> {
        respond(stream.into_inner().0).await
    }

    async fn multipath(stream: ServerStream<TcpStream>) -> io::Result<()> {
        respond(stream.into_inner().into_inner().0).await
    }
}

async fn respond(mut tcp: TcpStream) -> io::Result<()> {
    tcp.write_u8(READY).await?;
    while let Ok(wanted) = tcp.read_u8().await {
        let size = tcp.read_u64().await?;
        match wanted {
            DOWNLOAD => send(&mut tcp, size).await?,
            _ => echo(&mut tcp, size).await?,
        }
    }
    Ok(())
}

async fn send(tcp: &mut TcpStream, bytes: u64) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(CHUNK as u64);
        tcp.write_all(&chunk[..now as usize]).await?;
        left -= now;
    }
    Ok(())
}

/// Echoes messages of this size until the client closes.
async fn echo(tcp: &mut TcpStream, size: u64) -> io::Result<()> {
    let mut message = vec![0; size.min(CHUNK as u64) as usize];
    while tcp.read_exact(&mut message).await.is_ok() {
        tcp.write_all(&message).await?;
    }
    Ok(())
}
