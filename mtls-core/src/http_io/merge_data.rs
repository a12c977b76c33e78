//! Merges short HTTP/2 DATA frames, and drops empty ones, before the HTTP library sees them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The length of the connection preface of a client (RFC 9113, section 3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
/// Frames below this length are merged.
const SHORT: usize = 1024;
/// The longest frame that every receiver takes (RFC 9113, section 4.2).
const MAX_FRAME: usize = 16_384;
/// Bytes that are read at a time, and after which reading pauses.
const CHUNK: usize = 16 * 1024;
/// Empty frames that are dropped at once, and how many more each second.
const EMPTY_BURST: u32 = 100_000;
const EMPTY_PER_SECOND: u32 = 1_000;

/// A stream whose incoming HTTP/2 DATA frames are merged where they are short, and dropped where
/// they are empty.
///
/// The crate `h2` closes a connection after 100 empty DATA frames, and when short ones wait that
/// cost more than half of the connection's window (<https://github.com/hyperium/h2/pull/935>,
/// <https://github.com/hyperium/h2/issues/939>; hyper has no setting for it:
/// <https://github.com/hyperium/hyper/pull/4164>). Peers may send such frames, and their data must
/// not be lost. So a caller also gives hyper a connection window that covers the frames that
/// cannot be merged, because they arrive one by one.
///
/// Frames with padding pass unchanged: their padding counts in the flow control. More than 100,000
/// empty frames at once, or 1,000 more in each second, pass too, and `h2` ends the connection.
/// At most 48 KiB wait here.
#[derive(Debug)]
pub struct MergeData<S> {
    stream: S,
    merger: Option<Box<Merger>>,
}

impl<S> MergeData<S> {
    /// Wraps the stream of a client, which reads from an HTTP/2 server.
    pub fn client(stream: S) -> Self {
        Self::new(stream, Some(Merger::new(State::Head(0))))
    }

    /// Wraps the stream of a server, which reads from an HTTP/2 client, the connection preface first.
    pub fn server(stream: S) -> Self {
        Self::new(stream, Some(Merger::new(State::Pass(PREFACE))))
    }

    /// Passes all bytes unchanged, for other protocols than HTTP/2.
    pub fn unchanged(stream: S) -> Self {
        Self::new(stream, None)
    }

    fn new(stream: S, merger: Option<Merger>) -> Self {
        let merger = merger.map(Box::new);
        Self { stream, merger }
    }

    /// The inner stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MergeData<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &mut this.merger {
            None => Pin::new(&mut this.stream).poll_read(cx, buf),
            Some(merger) => {
                ready!(merger.poll_fill(Pin::new(&mut this.stream), cx))?;
                merger.give(buf);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MergeData<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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

#[derive(Debug)]
struct Merger {
    state: State,
    head: [u8; FRAME_HEAD],
    run: Option<Run>,
    output: Vec<u8>,
    /// The bytes of `output` that were read.
    given: usize,
    input: Box<[u8; CHUNK]>,
    end: Option<io::Result<()>>,
    empties: Empties,
}

/// The part of a frame that the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A frame's head, of which this much is there.
    Head(usize),
    /// This many bytes that are passed on.
    Pass(usize),
    /// This many bytes of a frame that joins the run.
    Join(usize),
}

/// Frames of one stream that become one frame, which begins in the output.
#[derive(Debug)]
struct Run {
    begin: usize,
    length: usize,
    stream: [u8; 4],
    flags: u8,
}

impl Merger {
    fn new(state: State) -> Self {
        Self {
            state,
            head: [0; FRAME_HEAD],
            run: None,
            output: Vec::new(),
            given: 0,
            input: Box::new([0; CHUNK]),
            end: None,
            empties: Empties::new(),
        }
    }

    /// Reads the available bytes, up to a limit; waits only if there are none.
    fn poll_fill<S: AsyncRead>(
        &mut self,
        mut stream: Pin<&mut S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.given == 0 && self.output.len() < CHUNK && self.end.is_none() {
            let mut chunk = ReadBuf::new(&mut self.input[..]);
            let read = match stream.as_mut().poll_read(cx, &mut chunk) {
                Poll::Pending if self.output.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(read) => read,
            };
            let length = chunk.filled().len();
            match read {
                Ok(()) if length > 0 => self.take(length),
                end => self.end(end),
            }
        }
        self.finish_run();
        match (self.output.is_empty(), &mut self.end) {
            (true, Some(end)) => Poll::Ready(std::mem::replace(end, Ok(()))),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ends the stream, and passes on an incomplete frame head.
    fn end(&mut self, end: io::Result<()>) {
        if let State::Head(there) = self.state {
            self.finish_run();
            self.output.extend_from_slice(&self.head[..there]);
        }
        self.end = Some(end);
    }

    /// Fills the buffer.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let waiting = &self.output[self.given..];
        let length = waiting.len().min(buf.remaining());
        buf.put_slice(&waiting[..length]);
        self.given += length;
        if self.given == self.output.len() {
            self.output.clear();
            self.given = 0;
        }
    }

    /// Parses this many bytes of the input.
    fn take(&mut self, length: usize) {
        let mut at = 0;
        while at < length {
            let left = length - at;
            let taken = match self.state {
                State::Head(there) => {
                    let taken = left.min(FRAME_HEAD - there);
                    self.head[there..there + taken].copy_from_slice(&self.input[at..at + taken]);
                    self.state = State::Head(there + taken);
                    if there + taken == FRAME_HEAD {
                        self.begin();
                    }
                    taken
                }
                State::Pass(rest) => self.copy(at, left, rest, State::Pass),
                State::Join(rest) => self.copy(at, left, rest, State::Join),
            };
            at += taken;
        }
    }

    fn copy(&mut self, at: usize, left: usize, rest: usize, state: fn(usize) -> State) -> usize {
        let taken = left.min(rest);
        self.output.extend_from_slice(&self.input[at..at + taken]);
        self.state = match rest - taken {
            0 => State::Head(0),
            rest => state(rest),
        };
        taken
    }

    /// The head of a frame is there.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let is_plain = kind == DATA && flags & !END_STREAM == 0 && stream != [0; 4];
        let is_empty = length == 0 && flags == 0;
        let joins = is_plain && length < SHORT && !is_empty;
        if joins {
            self.join(length, flags, stream);
        } else if !(is_plain && is_empty && self.empties.spend()) {
            self.finish_run();
            self.output.extend_from_slice(&self.head);
        }
        self.state = match (length, joins) {
            (0, _) => State::Head(0),
            (_, true) => State::Join(length),
            (_, false) => State::Pass(length),
        };
    }

    /// Adds a frame to the run, or begins another one.
    fn join(&mut self, length: usize, flags: u8, stream: [u8; 4]) {
        let fits =
            |run: &Run| run.stream == stream && run.flags == 0 && run.length + length <= MAX_FRAME;
        match self.run.as_mut().filter(|run| fits(run)) {
            Some(run) => {
                run.length += length;
                run.flags = flags;
            }
            None => {
                self.finish_run();
                self.run = Some(Run {
                    begin: self.output.len(),
                    length,
                    stream,
                    flags,
                });
                self.output.extend_from_slice(&self.head);
            }
        }
    }

    /// Writes the head of the run's frame. The missing bytes of its last part follow as they arrive.
    fn finish_run(&mut self) {
        let Some(run) = self.run.take() else {
            return;
        };
        let [_, a, b, c] = u32::try_from(run.length).unwrap_or(0).to_be_bytes();
        self.output[run.begin..run.begin + 5].copy_from_slice(&[a, b, c, DATA, run.flags]);
        if let State::Join(rest) = self.state {
            self.state = State::Pass(rest);
        }
    }
}

/// The empty frames that may still be dropped.
#[derive(Debug)]
struct Empties {
    left: u32,
    /// When some were last added.
    since: Instant,
}

impl Empties {
    fn new() -> Self {
        Self {
            left: EMPTY_BURST,
            since: Instant::now(),
        }
    }

    fn spend(&mut self) -> bool {
        if self.left == 0 {
            self.add(self.since.elapsed());
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }

    fn add(&mut self, passed: Duration) {
        let seconds = u32::try_from(passed.as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.left = seconds.saturating_mul(EMPTY_PER_SECOND).min(EMPTY_BURST);
            self.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests;
