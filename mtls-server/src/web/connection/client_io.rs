//! The stream of a client.

use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use mtls_core::ServerStream;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::activity::Activity;
use crate::sync::lock;

/// The stream of a client while the HTTP library owns it. When the library drops it, its
/// [`ClientHandle`] gets the stream back.
#[derive(Debug)]
pub(in crate::web) struct ClientIo {
    /// `Some` until it is dropped.
    stream: Option<ServerStream<TcpStream>>,
    shared: Arc<Shared>,
}

/// Stays with the task of the connection while the HTTP library owns the stream.
#[derive(Debug)]
pub(in crate::web) struct ClientHandle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The next flush sends a probe.
    probe: AtomicBool,
    returned: Mutex<Option<ServerStream<TcpStream>>>,
}

impl ClientIo {
    pub(in crate::web) fn new(stream: ServerStream<TcpStream>) -> (Self, ClientHandle) {
        let shared = Arc::<Shared>::default();
        let handle = ClientHandle {
            shared: Arc::clone(&shared),
        };
        let stream = Some(stream);
        (Self { stream, shared }, handle)
    }

    /// Another handle on the socket, for [`ClientHandle::disconnected`]: its events do not disturb
    /// the reads of the stream.
    pub(in crate::web) fn second_socket(&self) -> io::Result<OwnedFd> {
        let stream = self.stream.as_ref().ok_or_else(gone)?;
        let (tcp, _) = stream.get_ref().get_ref();
        tcp.as_fd().try_clone_to_owned()
    }

    fn stream(&mut self) -> io::Result<Pin<&mut ServerStream<TcpStream>>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(gone)
    }

    /// Prepares a message that only the system of a client minds whose application has closed the
    /// socket.
    fn probe(&mut self) -> io::Result<()> {
        let refreshed = match &mut self.stream {
            Some(stream) => stream.get_mut().get_mut().1.refresh_traffic_keys(),
            None => Ok(()),
        };
        refreshed.map_err(io::Error::other)
    }
}

impl ClientHandle {
    /// Returns when the client has disconnected while a response is awaited: the HTTP library does
    /// not read then. Poll it in the task of the connection, after HTTP.
    ///
    /// A reset is a disconnect. A FIN alone is not: a client may close its sending half and still
    /// read, with a close_notify alert before (RFC 8446, section 6.1) or without. Only the response
    /// to further data distinguishes the two, so the server answers a FIN with a KeyUpdate message,
    /// which any TLS 1.3 client ignores: the system of a client that has closed its socket resets
    /// the connection, within one round trip. TLS 1.2 has no such message, and an end of the
    /// client's data ends the connection (RFC 5246, section 7.2.1).
    pub(in crate::web) async fn disconnected(
        &self,
        socket: io::Result<OwnedFd>,
        activity: &Activity,
    ) {
        // The library reads until then. A short response is never awaited, and costs no watch.
        poll_fn(|_| match activity.is_awaited() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        let Ok(socket) = socket.and_then(|socket| TcpStream::from_std(socket.into())) else {
            return pending().await;
        };
        if closed(&socket).await.is_err() {
            return;
        }
        self.shared.probe.store(true, Ordering::Relaxed);
        flush().await;
        // The reset that the probe leads to.
        let _ = socket.ready(Interest::ERROR).await;
    }

    /// The stream, once the HTTP library has dropped it.
    pub(in crate::web) fn take_back(&self) -> Option<ServerStream<TcpStream>> {
        lock(&self.shared.returned).take()
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        *lock(&self.shared.returned) = self.stream.take();
    }
}

/// Makes the task poll the HTTP library once more, which flushes the stream each time.
async fn flush() {
    let mut has_polled = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for the end of the client's data; an error is a reset.
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

/// Only a dropped stream has been given back.
fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wanted = &self.shared.probe;
        if wanted.load(Ordering::Relaxed) && wanted.swap(false, Ordering::Relaxed) {
            self.probe()?;
        }
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
