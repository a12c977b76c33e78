//! Interim responses (1xx; RFC 9110, section 15.2) for the proxy's clients. hyper's server sends
//! final responses only, so this module writes interim responses into its connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::StatusCode;
use hyper::header::HeaderMap;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;

use crate::output::http_head::write_fields;

/// Writes interim responses to one client.
#[derive(Clone, Debug, Default)]
pub(super) struct Interim {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    written: Notify,
}

/// At most one interim response, and the number of its bytes that were written.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    written: usize,
}

/// The write half of a connection on which hyper serves. It adds a pending interim response when
/// hyper flushes, because hyper does so only when it holds no bytes of an earlier response.
#[derive(Debug)]
pub(super) struct WithInterim<W> {
    inner: W,
    interim: Interim,
}

impl Interim {
    pub(super) fn over<W>(&self, inner: W) -> WithInterim<W> {
        WithInterim {
            inner,
            interim: self.clone(),
        }
    }

    /// Writes a response's head. Call it in the service of a request, before the final response;
    /// returns when the head is written.
    pub(super) async fn write(&self, head: Vec<u8>) {
        let written = self.shared.written.notified();
        *self.pending() = Pending {
            bytes: head,
            written: 0,
        };
        written.await;
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        let pending = self.shared.pending.lock();
        pending.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The head of an interim response.
pub(super) fn head(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    write_fields(&mut head, fields);
    head
}

impl<W: AsyncWrite + Unpin> WithInterim<W> {
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pending = self.interim.pending();
        if pending.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while pending.written < pending.bytes.len() {
            let rest = &pending.bytes[pending.written..];
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => pending.written += count,
            }
        }
        *pending = Pending::default();
        self.interim.shared.written.notify_waiters();
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for WithInterim<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // One that has begun ends before anything else.
        let has_begun = self.interim.pending().written > 0;
        if has_begun {
            ready!(self.poll_interim(cx))?;
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
