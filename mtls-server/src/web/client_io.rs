//! The client's end of an HTTP connection.

use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use mtls_core::ServerStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The stream of a client, shared by the HTTP library, the watch for the client's end, and the
/// lingering close. All three run in one task.
#[derive(Clone, Debug)]
pub(super) struct ClientIo(Arc<Mutex<ServerStream<TcpStream>>>);

impl ClientIo {
    pub(super) fn new(stream: ServerStream<TcpStream>) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    /// Returns when the client is gone, even while the HTTP library does not read.
    ///
    /// A reset says so. A FIN alone does not: a client may close its sending half and still read,
    /// with a close_notify alert before (RFC 8446, section 6.1) or without. Nothing but the answer
    /// to further data tells the two apart, so a FIN is answered with a KeyUpdate message, which
    /// any TLS 1.3 client ignores: the system of a client that has closed its socket resets the
    /// connection, within one round trip. In TLS 1.2 no such message exists, and an end of the
    /// client's data ends the connection (RFC 5246, section 7.2.1).
    pub(super) async fn gone(&self) {
        let Ok(socket) = self.second_socket() else {
            return pending().await;
        };
        if closed(&socket).await.is_err() || self.probe().await.is_err() {
            return;
        }
        // An error is what is waited for.
        let _ = socket.ready(Interest::ERROR).await;
    }

    fn lock(&self) -> MutexGuard<'_, ServerStream<TcpStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another handle on the socket: its events do not disturb the reads of the stream.
    fn second_socket(&self) -> io::Result<TcpStream> {
        let handle = self
            .lock()
            .get_ref()
            .get_ref()
            .0
            .as_fd()
            .try_clone_to_owned()?;
        TcpStream::from_std(handle.into())
    }

    /// Sends a message that only a system whose application has closed the socket minds.
    async fn probe(&self) -> io::Result<()> {
        let refreshed = self.lock().get_mut().get_mut().1.refresh_traffic_keys();
        refreshed.map_err(io::Error::other)?;
        self.clone().flush().await
    }
}

/// Waits for the end of what the client sends; an error is a reset.
async fn closed(socket: &TcpStream) -> io::Result<()> {
    loop {
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if ready.is_read_closed() {
            return Ok(());
        }
        // There are bytes, and the stream will read them: wait for the next event.
        let wait = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = socket.try_io(Interest::READABLE, wait);
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}
