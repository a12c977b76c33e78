//! A stream whose writing side may break while the response is still to be read.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's stream that reads the response although a write has failed.
///
/// A server may respond before it has read the whole request, and close (RFC 9112, section 9.5):
/// then the rest of the request cannot be written, and the response waits to be read. After such a
/// failure writes stay pending until everything was read, and fail then.
#[derive(Debug)]
pub struct KeepReading<S> {
    inner: S,
    broken: WriteError,
    ended: bool,
    /// The task of a write that is pending because of the failure.
    waiting: Option<Waker>,
}

/// The error of the writing side of a [`KeepReading`], if it failed.
#[derive(Clone, Debug, Default)]
pub struct WriteError(Arc<OnceLock<String>>);

impl WriteError {
    /// The reason; `None` while nothing failed.
    pub fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn error(&self) -> Option<io::Error> {
        let reason = self.reason()?.to_owned();
        Some(io::Error::new(ErrorKind::BrokenPipe, reason))
    }
}

impl<S> KeepReading<S> {
    /// Wraps a stream.
    pub fn new(inner: S) -> (Self, WriteError) {
        let broken = WriteError::default();
        let stream = Self {
            inner,
            broken: broken.clone(),
            ended: false,
            waiting: None,
        };
        (stream, broken)
    }

    /// Holds back the error of a peer that is gone while there may be something to read.
    fn hold<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &Context<'_>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) if is_gone(&error) && !self.ended => {
                let _ = self.broken.0.set(error.to_string());
                self.waiting = Some(context.waker().clone());
                Poll::Pending
            }
            other => other,
        }
    }

    /// Nothing more can be read.
    fn end(&mut self) {
        self.ended = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before || buffer.remaining() == 0 => {}
            Poll::Ready(_) => self.end(),
            Poll::Pending => {}
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KeepReading<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match self.broken.error() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.inner).poll_write(context, bytes),
        };
        self.hold(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match self.broken.error() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.inner).poll_write_vectored(context, slices),
        };
        self.hold(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.broken.error() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.inner).poll_flush(context),
        };
        self.hold(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.broken.reason() {
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.inner).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn a_write_that_fails_waits_until_everything_was_read() {
        let (near, mut far) = duplex(64);
        far.write_all(b"the response").await.expect("room");
        drop(far);
        let (stream, broken) = KeepReading::new(near);
        let (mut read, mut write) = tokio::io::split(stream);
        let writing = tokio::spawn(async move { write.write_all(b"the rest").await });
        tokio::task::yield_now().await;
        assert!(!writing.is_finished());
        let mut response = [0; 12];
        read.read_exact(&mut response).await.expect("the response");
        assert_eq!(&response, b"the response");
        assert!(!writing.is_finished());
        assert_eq!(read.read(&mut response).await.expect("the end"), 0);
        let error = writing.await.expect("to end").expect_err("it failed");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(broken.reason(), Some(error.to_string().as_str()));
    }
}
