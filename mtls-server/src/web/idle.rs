//! Notices when nothing moves on a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// A stream that notes when a byte last went through it.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    activity: Activity,
}

/// When a byte last moved, and who is to move the next one. Clones are of the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    /// Milliseconds since `start`.
    last: AtomicU64,
    /// Responses that the client waits for.
    awaited: AtomicUsize,
    /// The client does not read what it was sent.
    blocked: AtomicBool,
}

/// How long nothing may move on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleLimits {
    /// While it is the client's turn: to send a request, or to read.
    pub(crate) idle: Duration,
    /// While the client waits for a response, or for more of one.
    pub(crate) stream: Duration,
}

/// The client waits for this server, until it is dropped.
#[derive(Debug)]
pub(crate) struct Awaited(Activity);

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
        Self(Arc::new(State {
            start: Instant::now(),
            last: AtomicU64::new(0),
            awaited: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
        }))
    }

    /// Returns when no byte has moved for `idle`, counted from this call at the earliest.
    pub(crate) async fn idle_for(&self, idle: Duration) {
        let stream = idle;
        self.idle_within(IdleLimits { idle, stream }).await;
    }

    /// The same, for as long as the limit that applies.
    pub(crate) async fn idle_within(&self, limits: IdleLimits) {
        let called = Instant::now();
        loop {
            let deadline = self.last().max(called) + self.limit(limits);
            let now = Instant::now();
            if deadline <= now {
                return;
            }
            // The other limit, which may be the shorter one, may apply before that.
            sleep_until(deadline.min(now + limits.idle.min(limits.stream))).await;
        }
    }

    /// The client's turn ends until what this returns is dropped.
    pub(crate) fn awaited(&self) -> Awaited {
        self.0.awaited.fetch_add(1, Ordering::Relaxed);
        Awaited(self.clone())
    }

    fn limit(&self, limits: IdleLimits) -> Duration {
        let state = &*self.0;
        let awaited = state.awaited.load(Ordering::Relaxed) > 0;
        match awaited && !state.blocked.load(Ordering::Relaxed) {
            true => limits.stream,
            false => limits.idle,
        }
    }

    fn last(&self) -> Instant {
        self.0.start + Duration::from_millis(self.0.last.load(Ordering::Relaxed))
    }

    pub(crate) fn note(&self, moved: bool) {
        if moved {
            let now = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.0.last.store(now, Ordering::Relaxed);
        }
    }

    fn note_write<T>(&self, polled: &Poll<io::Result<T>>) {
        self.0.blocked.store(polled.is_pending(), Ordering::Relaxed);
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.0.awaited.fetch_sub(1, Ordering::Relaxed);
        // From now on the client has its whole time again.
        self.0.note(true);
    }
}

pin_project! {
    /// A response body that notes when the client waits for more of it.
    #[derive(Debug)]
    pub(crate) struct WatchedBody<B> {
        #[pin]
        body: B,
        activity: Activity,
        awaited: Option<Awaited>,
    }
}

impl<B> WatchedBody<B> {
    pub(crate) fn new(body: B, activity: Activity) -> Self {
        Self {
            body,
            activity,
            awaited: None,
        }
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        match polled.is_pending() {
            true => {
                this.awaited.get_or_insert_with(|| this.activity.awaited());
            }
            false => *this.awaited = None,
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
        self.activity.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.activity.note(matches!(polled, Poll::Ready(Ok(_))));
        self.activity.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.activity.note_write(&polled);
        polled
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

    const LIMITS: IdleLimits = IdleLimits {
        idle: IDLE,
        stream: Duration::from_secs(3600),
    };

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_has_the_longer_limit_and_then_the_shorter_one_again() {
        let (near, _far) = tokio::io::duplex(64);
        let (_stream, activity) = Watched::new(near);
        let awaited = activity.awaited();
        let mut waiting = Box::pin(activity.idle_within(LIMITS));
        assert!(!is_over(&mut waiting).await);
        advance(LIMITS.stream - Duration::from_secs(1)).await;
        assert!(!is_over(&mut waiting).await);
        drop(awaited);
        advance(IDLE - Duration::from_secs(1)).await;
        assert!(!is_over(&mut waiting).await);
        advance(Duration::from_secs(1)).await;
        assert!(is_over(&mut waiting).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_never_goes_on_ends_at_the_longer_limit() {
        let (near, _far) = tokio::io::duplex(64);
        let (_stream, activity) = Watched::new(near);
        let _awaited = activity.awaited();
        let mut waiting = Box::pin(activity.idle_within(LIMITS));
        assert!(!is_over(&mut waiting).await);
        advance(LIMITS.stream).await;
        assert!(is_over(&mut waiting).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_has_the_shorter_limit() {
        let (near, _far) = tokio::io::duplex(1);
        let (mut stream, activity) = Watched::new(near);
        let _awaited = activity.awaited();
        let blocked = poll_fn(|cx| {
            let _ = Pin::new(&mut stream).poll_write(cx, b"x");
            Poll::Ready(Pin::new(&mut stream).poll_write(cx, b"x").is_pending())
        });
        assert!(blocked.await);
        let mut waiting = Box::pin(activity.idle_within(LIMITS));
        assert!(!is_over(&mut waiting).await);
        advance(IDLE).await;
        assert!(is_over(&mut waiting).await);
    }
}
