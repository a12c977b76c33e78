//! Moves bytes into and out of a rustls connection without a socket, and takes random bytes of its
//! provider: what both ends need of rustls beside their handshakes.

use std::future::poll_fn;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::crypto::SecureRandom;
use rustls::{ClientConnection, ConnectionCommon};
use tokio::io::{AsyncRead, ReadBuf};

use crate::error::Error;
use crate::proto::binding::Nonce;

/// The number of bytes that are read at a time before TLS is complete, and on side connections.
const READ_BUFFER: usize = 4096;

/// The most plaintext of a server that speaks first which may wait: rustls reads no more.
const MAX_PLAINTEXT: usize = 16 * 1024;

/// Everything that the connection has to send.
pub(crate) fn take_output<D>(connection: &mut ConnectionCommon<D>) -> Result<Vec<u8>, Error> {
    let mut output = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut output)?;
    }
    Ok(output)
}

/// Hands the connection what was received, and has it processed.
pub(crate) fn feed<D>(
    connection: &mut ConnectionCommon<D>,
    mut received: &[u8],
) -> Result<(), Error> {
    while !received.is_empty() {
        connection.read_tls(&mut received)?;
        connection.process_new_packets()?;
    }
    Ok(())
}

/// Reads TLS records until `enough` says so, the peer has closed, or as much plaintext waits as
/// rustls takes. The plaintext stays in the connection. Safe to drop.
pub(crate) async fn read_until<IO: AsyncRead + Unpin>(
    connection: &mut ClientConnection,
    io: &mut IO,
    enough: impl Fn() -> bool,
) -> Result<(), Error> {
    while !enough() {
        let read = poll_fn(|cx| poll_read_tls(connection, io, cx)).await?;
        let state = connection.process_new_packets()?;
        if read == 0 || state.peer_has_closed() || state.plaintext_bytes_to_read() >= MAX_PLAINTEXT
        {
            break;
        }
    }
    Ok(())
}

/// Reads once, straight into the connection, so that no byte is lost when the caller stops waiting.
pub(crate) fn poll_read_tls<IO: AsyncRead + Unpin>(
    connection: &mut ClientConnection,
    io: &mut IO,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    match connection.read_tls(&mut PollRead { io, cx }) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        read => Poll::Ready(read),
    }
}

/// A socket as rustls reads it: "would block" means pending.
struct PollRead<'a, 'b, IO> {
    io: &'a mut IO,
    cx: &'a mut Context<'b>,
}

impl<IO: AsyncRead + Unpin> Read for PollRead<'_, '_, IO> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut *self.io).poll_read(self.cx, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Reads once, up to [`READ_BUFFER`] bytes; none at the end. The buffer exists only while there is
/// something to read, so a connection that waits holds no memory for it. Safe to drop.
pub(crate) async fn read_some<IO: AsyncRead + Unpin>(io: &mut IO) -> io::Result<Vec<u8>> {
    poll_fn(|cx| {
        let mut buffer = [MaybeUninit::uninit(); READ_BUFFER];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().to_vec()))
    })
    .await
}

/// Fresh random bytes.
pub(crate) fn nonce(random: &dyn SecureRandom) -> Result<Nonce, Error> {
    let mut nonce = [0; 32];
    random
        .fill(&mut nonce)
        .map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    Ok(nonce)
}
