//! The limits of time of a connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use mtls_core::http_io::LINGER_PAUSE;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout_at};

/// A stream that records when it last transferred a byte.
#[derive(Debug)]
pub(crate) struct TimedStream<S> {
    stream: S,
    activity: Activity,
}

/// The time of the last transfer on a connection, and which end acts next. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    /// Milliseconds since `start`.
    last: AtomicU64,
    /// Responses, and parts of responses, that the client waits for.
    awaited: AtomicUsize,
    /// The client does not read: a write is pending.
    blocked: AtomicBool,
    /// Request headers that were received. The last one's number, from 1 on.
    requests: AtomicUsize,
    /// The last request while the client may still send its body; otherwise 0.
    unsent: AtomicUsize,
    /// The last request over HTTP/1.1 while its body is being read; otherwise 0.
    read: AtomicUsize,
    /// The start of the wait for the next one over HTTP/1.1, in milliseconds since `start`;
    /// [`NO_WAIT`] from its end to the end of the response.
    header_wait: AtomicU64,
}

const NO_WAIT: u64 = u64::MAX;

/// The longest times without a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleLimits {
    /// While the client is to send a request, or to read.
    pub(crate) idle: Duration,
    /// While the client waits for a response, or for more of one.
    pub(crate) stream: Duration,
    /// The longest wait for a whole request header, transfers or not. `None` for no limit.
    pub(crate) header: Option<Duration>,
}

impl IdleLimits {
    /// For a connection on which nothing has moved for too long: the time to end in an orderly way.
    pub(crate) fn at_the_end(self) -> Self {
        Self {
            idle: self.idle.min(LINGER_PAUSE),
            stream: self.stream.min(LINGER_PAUSE),
            ..self
        }
    }
}

/// The limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    Idle,
    Header,
}

/// The client waits for this server until this is dropped.
#[derive(Debug)]
pub(crate) struct Awaited(Activity);

impl<S> TimedStream<S> {
    pub(crate) fn new(stream: S) -> (Self, Activity) {
        let activity = Activity::start();
        let timed = Self {
            stream,
            activity: activity.clone(),
        };
        (timed, activity)
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl Activity {
    pub(crate) fn start() -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            last: AtomicU64::new(0),
            awaited: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            unsent: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            header_wait: AtomicU64::new(0),
        }))
    }

    /// Returns after `idle` without a transfer, counted from this call at the earliest.
    pub(crate) async fn idle_for(&self, idle: Duration) {
        let limits = IdleLimits {
            idle,
            stream: idle,
            header: None,
        };
        self.expired(limits).await;
    }

    /// Returns when the limit that applies is exceeded, counted from this call at the earliest, and
    /// for a request header from the end of the response before it.
    ///
    /// A request changes no timer: this one checks again when it fires.
    pub(crate) async fn expired(&self, limits: IdleLimits) -> Expired {
        let called = Instant::now();
        loop {
            let idle = self.last().max(called) + self.limit(limits);
            let header = limits.header.and_then(|limit| self.header_deadline(limit));
            let now = Instant::now();
            if header.is_some_and(|header| header <= now) {
                return Expired::Header;
            }
            if idle <= now {
                return Expired::Idle;
            }
            // Another limit, which may be a shorter one, may apply before that.
            let others = limits.idle.min(limits.stream);
            let soonest = now + limits.header.map_or(others, |header| header.min(others));
            sleep_until(header.map_or(idle, |header| header.min(idle)).min(soonest)).await;
        }
    }

    /// The client waits until the returned value is dropped.
    pub(crate) fn awaited(&self) -> Awaited {
        self.0.awaited.fetch_add(1, Ordering::Relaxed);
        Awaited(self.clone())
    }

    /// Whether the client waits for this server.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.awaited.load(Ordering::Relaxed) > 0
    }

    /// Whether the client does not read.
    pub(crate) fn is_blocked(&self) -> bool {
        self.0.blocked.load(Ordering::Relaxed)
    }

    /// Records that a request header was received, and returns the request's number. The next
    /// header is awaited from the end of its [`TimedBody`] on.
    pub(crate) fn begin_request(&self, has_body: bool) -> usize {
        let request = self.0.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let body = if has_body { request } else { 0 };
        self.0.unsent.store(body, Ordering::Relaxed);
        self.0.read.store(body, Ordering::Relaxed);
        self.0.header_wait.store(NO_WAIT, Ordering::Relaxed);
        request
    }

    /// Completes when the connection has received a request, or has existed for this time. Poll it in
    /// the task of the connection, after HTTP.
    pub(crate) async fn first_request(&self, age: Duration) {
        let received = poll_fn(|_| match self.0.requests.load(Ordering::Relaxed) {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        });
        // Both ends are the same to the caller.
        let _ = timeout_at(self.0.start + age, received).await;
    }

    /// Records that the body of a request over HTTP/1.1 was received.
    pub(crate) fn end_body(&self, request: usize) {
        // There may be a later request already.
        let (unsent, relaxed) = (&self.0.unsent, Ordering::Relaxed);
        let _ = unsent.compare_exchange(request, 0, relaxed, relaxed);
        self.stop_reading(request);
    }

    /// Records that no more of the body of a request over HTTP/1.1 is wanted. The client may still
    /// send the rest, and has the time for a header to do so.
    pub(crate) fn stop_reading(&self, request: usize) {
        let (read, relaxed) = (&self.0.read, Ordering::Relaxed);
        if read.compare_exchange(request, 0, relaxed, relaxed).is_ok() {
            let now = self.milliseconds();
            let restart = |since| (since != NO_WAIT).then_some(now);
            let _ = self.0.header_wait.fetch_update(relaxed, relaxed, restart);
        }
    }

    /// Whether the client may still send the body of its last request. Over HTTP/2 it counts as
    /// unsent to the end of the connection.
    pub(crate) fn may_send(&self) -> bool {
        self.0.unsent.load(Ordering::Relaxed) != 0
    }

    /// Whether the next bytes over HTTP/1.1 are a request header.
    pub(crate) fn awaits_header(&self) -> bool {
        !self.may_send() && self.0.header_wait.load(Ordering::Relaxed) != NO_WAIT
    }

    fn end_response(&self) {
        let now = self.milliseconds();
        self.0.header_wait.store(now, Ordering::Relaxed);
    }

    fn header_deadline(&self, limit: Duration) -> Option<Instant> {
        if self.0.read.load(Ordering::Relaxed) != 0 {
            // A response may end before the upload that it belongs to.
            return None;
        }
        match self.0.header_wait.load(Ordering::Relaxed) {
            NO_WAIT => None,
            since => Some(self.0.start + Duration::from_millis(since) + limit),
        }
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(NO_WAIT - 1)
    }

    fn limit(&self, limits: IdleLimits) -> Duration {
        match self.is_awaited() && !self.is_blocked() {
            true => limits.stream,
            false => limits.idle,
        }
    }

    fn last(&self) -> Instant {
        self.0.start + Duration::from_millis(self.0.last.load(Ordering::Relaxed))
    }

    pub(crate) fn note(&self, moved: bool) {
        if moved {
            self.0.last.store(self.milliseconds(), Ordering::Relaxed);
        }
    }

    fn note_write<T>(&self, polled: &Poll<io::Result<T>>) {
        self.0.blocked.store(polled.is_pending(), Ordering::Relaxed);
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.0.awaited.fetch_sub(1, Ordering::Relaxed);
        // The client has its whole time again from now on.
        self.0.note(true);
    }
}

pin_project! {
    /// A response body that records when the client waits for more of it, and its end.
    #[derive(Debug)]
    pub struct TimedBody<B> {
        #[pin]
        body: B,
        awaited: Option<Awaited>,
        end: ResponseEnd,
    }
}

/// The next request header is awaited once this is dropped.
#[derive(Debug)]
struct ResponseEnd(Activity);

impl Drop for ResponseEnd {
    fn drop(&mut self) {
        self.0.end_response();
    }
}

impl<B> TimedBody<B> {
    pub(crate) fn new(body: B, activity: Activity) -> Self {
        Self {
            body,
            awaited: None,
            end: ResponseEnd(activity),
        }
    }
}

impl<B: Body> Body for TimedBody<B> {
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
                this.awaited.get_or_insert_with(|| this.end.0.awaited());
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

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::advance;

    const IDLE: Duration = Duration::from_secs(60);

    async fn is_over<T>(waiting: &mut Pin<Box<impl Future<Output = T>>>) -> bool {
        poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn every_byte_starts_the_wait_anew() {
        let (near, _far) = tokio::io::duplex(64);
        let (mut stream, activity) = TimedStream::new(near);
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
        let activity = Activity::start();
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
        header: None,
    };

    const WITH_HEADER: IdleLimits = IdleLimits {
        header: Some(Duration::from_secs(30)),
        ..LIMITS
    };

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_has_the_longer_limit_and_then_the_shorter_one_again() {
        let activity = Activity::start();
        let awaited = activity.awaited();
        let mut waiting = Box::pin(activity.expired(LIMITS));
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
        let activity = Activity::start();
        let _awaited = activity.awaited();
        let mut waiting = Box::pin(activity.expired(LIMITS));
        assert!(!is_over(&mut waiting).await);
        advance(LIMITS.stream).await;
        assert!(is_over(&mut waiting).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_has_the_shorter_limit() {
        let (near, _far) = tokio::io::duplex(1);
        let (mut stream, activity) = TimedStream::new(near);
        let _awaited = activity.awaited();
        let blocked = poll_fn(|cx| {
            let _ = Pin::new(&mut stream).poll_write(cx, b"x");
            Poll::Ready(Pin::new(&mut stream).poll_write(cx, b"x").is_pending())
        });
        assert!(blocked.await);
        let mut waiting = Box::pin(activity.expired(LIMITS));
        assert!(!is_over(&mut waiting).await);
        advance(IDLE).await;
        assert!(is_over(&mut waiting).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_header_is_limited_whatever_arrives() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut stream, activity) = TimedStream::new(near);
        let mut waiting = Box::pin(activity.expired(WITH_HEADER));
        for _ in 0..29 {
            assert!(!is_over(&mut waiting).await);
            advance(Duration::from_secs(1)).await;
            far.write_all(b"x").await.expect("to write");
            stream.read_exact(&mut [0]).await.expect("to read");
        }
        assert!(!is_over(&mut waiting).await);
        advance(Duration::from_secs(1)).await;
        assert_eq!(waiting.await, Expired::Header);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_the_next_header_begins_at_the_end_of_the_response() {
        let activity = Activity::start();
        activity.begin_request(false);
        let body = TimedBody::new(http_body_util::Empty::<&[u8]>::new(), activity.clone());
        let mut waiting = Box::pin(activity.expired(WITH_HEADER));
        assert!(!is_over(&mut waiting).await);
        advance(Duration::from_secs(40)).await;
        assert!(!is_over(&mut waiting).await, "during the response");
        drop(body);
        advance(Duration::from_secs(19)).await;
        assert!(!is_over(&mut waiting).await);
        activity.note(true);
        advance(Duration::from_secs(11)).await;
        assert_eq!(waiting.await, Expired::Header);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_the_next_header_begins_at_the_end_of_a_longer_upload() {
        let activity = Activity::start();
        let upload = activity.begin_request(true);
        activity.end_response();
        assert!(activity.may_send() && !activity.awaits_header());
        let mut waiting = Box::pin(activity.expired(WITH_HEADER));
        advance(Duration::from_secs(40)).await;
        assert!(!is_over(&mut waiting).await, "during the upload");
        activity.note(true);
        activity.end_body(upload);
        assert!(!activity.may_send() && activity.awaits_header());
        advance(Duration::from_secs(29)).await;
        assert!(!is_over(&mut waiting).await);
        activity.note(true);
        advance(Duration::from_secs(1)).await;
        assert_eq!(waiting.await, Expired::Header);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_an_upload_that_is_not_read_has_the_time_of_a_header() {
        let activity = Activity::start();
        let upload = activity.begin_request(true);
        activity.end_response();
        activity.stop_reading(upload);
        assert!(activity.may_send() && !activity.awaits_header());
        let mut waiting = Box::pin(activity.expired(WITH_HEADER));
        assert!(!is_over(&mut waiting).await);
        advance(Duration::from_secs(30)).await;
        assert_eq!(waiting.await, Expired::Header);
    }

    #[test]
    fn the_end_of_an_earlier_body_changes_nothing_for_a_later_request() {
        let activity = Activity::start();
        let earlier = activity.begin_request(true);
        activity.begin_request(true);
        activity.end_body(earlier);
        assert!(activity.may_send());
    }
}
