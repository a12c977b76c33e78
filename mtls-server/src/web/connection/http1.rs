//! HTTP/1.1 on one connection, with any number of header fields.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1::{Builder, Connection, Parts, UpgradeableConnection};
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use crate::web::BoxError;

/// Header fields that hyper parses without an allocation. With a higher limit it allocates and
/// initialises memory for the maximum at each attempt to parse a head: 400 kB for 32 KiB of head,
/// which costs more than the rest of a short request.
const FIELDS: usize = 100;

/// HTTP/1.1 on a connection: with hyper's own limit of 100 fields, until a head has more.
///
/// Then a second connection of hyper with a higher limit continues, at the first byte that the first
/// one has not used. This is not possible any more, and the response to such a head is 431, after a
/// request with `Upgrade`; for a head whose beginning arrives together with the end of a body; and
/// after a body that the service has not read to the end.
pub(in crate::web) struct Http1<I, S: HttpService<Incoming>> {
    /// `None` only inside [`advance`](Self::advance).
    state: Option<State<I, S>>,
    service: S,
    many_fields: Builder,
    signals: Signals,
    activity: Activity,
}

enum State<I, S: HttpService<Incoming>> {
    Plain(Connection<TokioIo<CountedHeads<I>>, S>),
    Upgradeable(UpgradeableConnection<TokioIo<CountedHeads<I>>, S>),
}

/// The events that change the [`State`]. Clones share them.
#[derive(Clone, Debug, Default)]
pub(in crate::web) struct Signals(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// A head has more than [`FIELDS`] fields.
    many_fields: AtomicBool,
    /// A request asks for an upgrade.
    upgrade: AtomicBool,
}

impl Signals {
    /// Makes the connection ready for an upgrade; complete when its task has polled it again.
    pub(in crate::web) async fn allow_upgrade(&self) {
        self.0.upgrade.store(true, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }

    fn upgrades(&self) -> bool {
        self.0.upgrade.load(Ordering::Relaxed)
    }

    fn has_many_fields(&self) -> bool {
        self.0.many_fields.load(Ordering::Relaxed)
    }

    fn set_many_fields(&self, many: bool) {
        self.0.many_fields.store(many, Ordering::Relaxed);
    }
}

impl<I, S, B> Http1<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B> + Clone + Unpin,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    /// Serves a connection with `builder`, which has no limit of the number of fields, and with
    /// `max_fields` where a head has more than 100.
    pub(in crate::web) fn new(
        builder: &Builder,
        max_fields: usize,
        io: I,
        service: S,
        activity: &Activity,
        signals: Signals,
    ) -> Self {
        let mut many_fields = builder.clone();
        many_fields.max_headers(max_fields);
        let io = CountedHeads::new(io, signals.clone(), activity.clone());
        let connection = builder.serve_connection(TokioIo::new(io), service.clone());
        Self {
            state: Some(State::Plain(connection)),
            service,
            many_fields,
            signals,
            activity: activity.clone(),
        }
    }

    /// Ends the connection after the response that is under way.
    pub(in crate::web) fn graceful_shutdown(self: Pin<&mut Self>) {
        let this = self.get_mut();
        // A later state has to end too.
        this.many_fields.keep_alive(false);
        match &mut this.state {
            Some(State::Plain(connection)) => Pin::new(connection).graceful_shutdown(),
            Some(State::Upgradeable(connection)) => Pin::new(connection).graceful_shutdown(),
            None => {}
        }
    }

    /// Changes the state if a signal requires that. Returns whether it did.
    fn advance(&mut self) -> bool {
        // Every response must have been flushed: hyper would lose the rest of it.
        let resumes = self.signals.has_many_fields() && !self.activity.is_blocked();
        let (state, has_changed) = match self.state.take() {
            Some(State::Plain(connection)) if self.signals.upgrades() => {
                (State::Upgradeable(connection.with_upgrades()), true)
            }
            Some(State::Plain(connection)) if resumes => {
                let Parts { io, read_buf, .. } = connection.into_parts();
                let io = io.into_inner().resume(&read_buf);
                let service = self.service.clone();
                let connection = self.many_fields.serve_connection(TokioIo::new(io), service);
                self.signals.set_many_fields(false);
                (State::Plain(connection), true)
            }
            Some(state) => (state, false),
            None => return false,
        };
        self.state = Some(state);
        has_changed
    }
}

impl<I, S, B> Future for Http1<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B> + Clone + Unpin,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let this = self.get_mut();
        loop {
            let polled = match &mut this.state {
                Some(State::Plain(connection)) => Pin::new(connection).poll(cx),
                Some(State::Upgradeable(connection)) => Pin::new(connection).poll(cx),
                None => Poll::Ready(Ok(())),
            };
            if polled.is_ready() || !this.advance() {
                return polled;
            }
        }
    }
}

/// Counts the lines of each head before hyper receives them.
struct CountedHeads<I> {
    io: I,
    counts: bool,
    signals: Signals,
    activity: Activity,
    /// Lines since the last empty line.
    lines: usize,
    /// The last line has no byte yet, a CR excepted.
    is_line_empty: bool,
    /// Bytes that hyper has not received yet.
    held: Vec<u8>,
}

impl<I> CountedHeads<I> {
    fn new(io: I, signals: Signals, activity: Activity) -> Self {
        Self {
            io,
            counts: true,
            signals,
            activity,
            lines: 0,
            is_line_empty: true,
            held: Vec::new(),
        }
    }

    /// The same stream with these bytes at its beginning, and without counting.
    fn resume(mut self, unused: &[u8]) -> Self {
        self.held.splice(..0, unused.iter().copied());
        self.counts = false;
        self
    }

    /// Whether a head has too many fields with these bytes.
    ///
    /// The bytes of a body never count if they arrive after its head: hyper could not continue in
    /// the middle of a body.
    fn exceeds(&mut self, bytes: &[u8]) -> bool {
        if !self.counts || !self.activity.awaits_header() || self.signals.upgrades() {
            return false;
        }
        // A request line, and the fields.
        bytes.iter().any(|byte| self.count(*byte) > FIELDS + 1)
    }

    /// The lines since the last empty line, with this byte.
    fn count(&mut self, byte: u8) -> usize {
        match byte {
            b'\r' => {}
            b'\n' if self.is_line_empty => self.lines = 0,
            b'\n' => (self.lines, self.is_line_empty) = (self.lines + 1, true),
            _ => self.is_line_empty = false,
        }
        self.lines
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for CountedHeads<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.signals.has_many_fields() {
            // Until the other connection of hyper has taken over.
            return Poll::Pending;
        }
        if !this.held.is_empty() {
            let length = this.held.len().min(buf.remaining());
            buf.put_slice(&this.held[..length]);
            this.held.drain(..length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        if this.exceeds(&buf.filled()[before..]) {
            this.held.extend_from_slice(&buf.filled()[before..]);
            buf.set_filled(before);
            this.signals.set_many_fields(true);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for CountedHeads<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::time::Duration;

    use http_body_util::Empty;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    async fn respond(_: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
        Ok(Response::new(Empty::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_before_the_end_of_a_head_with_many_fields_ends_the_connection() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let (activity, signals) = (Activity::start(), Signals::default());
        let (builder, service) = (Builder::new(), service_fn(respond));
        let serving = Http1::new(&builder, 5_000, near, service, &activity, signals);
        let mut serving = std::pin::pin!(serving);
        far.write_all(b"GET / HTTP/1.1\r\n")
            .await
            .expect("to write");
        let polled = poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        serving.as_mut().graceful_shutdown();
        let rest = "x: y\r\n".repeat(FIELDS + 50) + "\r\n";
        far.write_all(rest.as_bytes()).await.expect("to write");
        let mut response = String::new();
        let received = far.read_to_string(&mut response);
        let end = async { tokio::join!(serving, received) };
        let (served, received) = timeout(Duration::from_secs(60), end).await.expect("an end");
        assert!(served.is_ok() && received.is_ok());
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert!(response.contains("connection: close"), "{response}");
    }
}
