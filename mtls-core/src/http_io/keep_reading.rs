//! A stream whose writing side may break while the response is still to be read.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's stream that reads the response although a write has failed.
///
/// A server may respond before it has read the whole request, and close (RFC 9112, section 9.5):
/// then the rest of the request cannot be written, and the response waits to be read. After such a
/// failure writes stay pending, and the end of the stream or the response decides.
#[derive(Debug)]
pub struct KeepReading<S> {
    inner: S,
    broken: WriteError,
}

/// Why the writing side of a [`KeepReading`] broke, if it did.
#[derive(Clone, Debug, Default)]
pub struct WriteError(Arc<OnceLock<String>>);

impl WriteError {
    /// The reason; `None` while nothing failed.
    pub fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Keeps the error of a peer that is gone, and passes on everything else.
    fn keep<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(error)) if is_gone(&error) => {
                let _ = self.0.set(error.to_string());
                Poll::Pending
            }
            other => other,
        }
    }
}

impl<S> KeepReading<S> {
    /// Wraps a stream.
    pub fn new(inner: S) -> (Self, WriteError) {
        let broken = WriteError::default();
        let stream = Self {
            inner,
            broken: broken.clone(),
        };
        (stream, broken)
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for KeepReading<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KeepReading<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.reason().is_some() {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.broken.keep(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.broken.reason().is_some() {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.broken.keep(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.reason().is_some() {
            return Poll::Pending;
        }
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.broken.keep(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.broken.reason() {
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.inner).poll_shutdown(context),
        }
    }
}
