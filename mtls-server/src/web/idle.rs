//! Notices when nothing moves on a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// A stream that notes when a byte last went through it.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    activity: Activity,
}

/// When a byte last moved.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    start: Instant,
    /// Milliseconds since `start`.
    last: Arc<AtomicU64>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S) -> (Self, Activity) {
        let activity = Activity::start();
        let watched = Self {
            stream,
            activity: activity.clone(),
        };
        (watched, activity)
    }
}

impl Activity {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            last: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Returns when no byte has moved for `idle`, counted from this call at the earliest.
    pub(crate) async fn idle_for(&self, idle: Duration) {
        let called = Instant::now();
        loop {
            let deadline = self.last().max(called) + idle;
            sleep_until(deadline).await;
            if self.last() + idle <= deadline {
                return;
            }
        }
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    pub(crate) fn note(&self, moved: bool) {
        if moved {
            let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last.store(now, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.activity.note(buf.filled().len() > before);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.activity.note(matches!(polled, Poll::Ready(Ok(_))));
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.activity.note(matches!(polled, Poll::Ready(Ok(_))));
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;
    use tokio::time::advance;

    const IDLE: Duration = Duration::from_secs(60);

    async fn is_over(waiting: &mut Pin<Box<impl Future<Output = ()>>>) -> bool {
        poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn every_byte_starts_the_wait_anew() {
        let (near, _far) = tokio::io::duplex(64);
        let (mut stream, activity) = Watched::new(near);
        let mut waiting = Box::pin(activity.idle_for(IDLE));
        assert!(!is_over(&mut waiting).await);
        advance(IDLE - Duration::from_secs(1)).await;
        stream.write_all(b"x").await.expect("to write");
        advance(IDLE - Duration::from_secs(1)).await;
        assert!(!is_over(&mut waiting).await);
        advance(Duration::from_secs(1)).await;
        assert!(is_over(&mut waiting).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_wait_takes_as_long_as_the_first() {
        let (near, _far) = tokio::io::duplex(64);
        let (_stream, activity) = Watched::new(near);
        activity.idle_for(IDLE).await;
        let mut again = Box::pin(activity.idle_for(IDLE));
        assert!(!is_over(&mut again).await);
        advance(IDLE - Duration::from_secs(1)).await;
        assert!(!is_over(&mut again).await);
        advance(Duration::from_secs(1)).await;
        assert!(is_over(&mut again).await);
    }
}
