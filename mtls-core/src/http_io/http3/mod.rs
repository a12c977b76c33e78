//! The transport of the crate `h3`, with its incoming frames checked.

mod frames;
#[cfg(test)]
mod tests;

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{
    self, BidiStream as _, ConnectionErrorIncoming, RecvStream as _, StreamErrorIncoming, StreamId,
    WriteBuf,
};
use h3_quinn::OpenStreams;

#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use self::frames::fuzz;
use self::frames::{FrameError, Frames};

/// The sending half of a stream, which is `h3-quinn`'s own.
pub type SendStream = h3_quinn::SendStream<Bytes>;

/// A connection of QUIC for `h3` (0.0.8), whose incoming frames are checked first.
///
/// `h3` keeps a frame of any length but DATA in memory until it is complete, takes an empty DATA frame
/// for the end of a body, and a stream that ends within a frame for one that is complete; and
/// `h3-quinn` panics where a stream is given up while it is read. Here a frame other than DATA is refused
/// above a limit, empty DATA frames are dropped and unknown frames skipped (RFC 9114, section 9), and a
/// stream that ends within a frame is an error.
pub struct CheckFrames {
    connection: h3_quinn::Connection,
    max_frame: u64,
}

impl CheckFrames {
    /// Refuses frames other than DATA of more than `max_frame` bytes.
    #[must_use]
    pub fn new(connection: quinn::Connection, max_frame: u64) -> Self {
        Self {
            connection: h3_quinn::Connection::new(connection),
            max_frame,
        }
    }
}

impl quic::Connection<Bytes> for CheckFrames {
    type RecvStream = CheckedRecvStream;
    type OpenStreams = CheckedOpenStreams;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<CheckedRecvStream, ConnectionErrorIncoming>> {
        let stream = quic::Connection::<Bytes>::poll_accept_recv(&mut self.connection, cx);
        let frames = Frames::unidirectional(self.max_frame);
        stream.map_ok(|stream| CheckedRecvStream::new(stream, frames))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<CheckedBidiStream, ConnectionErrorIncoming>> {
        let stream = quic::Connection::<Bytes>::poll_accept_bidi(&mut self.connection, cx);
        stream.map_ok(|stream| CheckedBidiStream::new(stream, self.max_frame))
    }

    fn opener(&self) -> CheckedOpenStreams {
        CheckedOpenStreams {
            streams: quic::Connection::<Bytes>::opener(&self.connection),
            max_frame: self.max_frame,
        }
    }
}

impl quic::OpenStreams<Bytes> for CheckFrames {
    type BidiStream = CheckedBidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<CheckedBidiStream, StreamErrorIncoming>> {
        let stream = quic::OpenStreams::<Bytes>::poll_open_bidi(&mut self.connection, cx);
        stream.map_ok(|stream| CheckedBidiStream::new(stream, self.max_frame))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        quic::OpenStreams::<Bytes>::poll_open_send(&mut self.connection, cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        quic::OpenStreams::<Bytes>::close(&mut self.connection, code, reason);
    }
}

/// Opens streams of a [`CheckFrames`].
#[derive(Clone)]
pub struct CheckedOpenStreams {
    streams: OpenStreams,
    max_frame: u64,
}

impl quic::OpenStreams<Bytes> for CheckedOpenStreams {
    type BidiStream = CheckedBidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<CheckedBidiStream, StreamErrorIncoming>> {
        let stream = quic::OpenStreams::<Bytes>::poll_open_bidi(&mut self.streams, cx);
        stream.map_ok(|stream| CheckedBidiStream::new(stream, self.max_frame))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        quic::OpenStreams::<Bytes>::poll_open_send(&mut self.streams, cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        quic::OpenStreams::<Bytes>::close(&mut self.streams, code, reason);
    }
}

/// A stream of a request and its response.
pub struct CheckedBidiStream {
    send: SendStream,
    receive: CheckedRecvStream,
}

impl CheckedBidiStream {
    fn new(stream: h3_quinn::BidiStream<Bytes>, max_frame: u64) -> Self {
        let (send, receive) = stream.split();
        Self {
            send,
            receive: CheckedRecvStream::new(receive, Frames::of_request(max_frame)),
        }
    }
}

impl quic::BidiStream<Bytes> for CheckedBidiStream {
    type SendStream = SendStream;
    type RecvStream = CheckedRecvStream;

    fn split(self) -> (SendStream, CheckedRecvStream) {
        (self.send, self.receive)
    }
}

impl quic::RecvStream for CheckedBidiStream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receive.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.receive.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.receive.recv_id()
    }
}

impl quic::SendStream<Bytes> for CheckedBidiStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

/// The receiving half of a stream.
pub struct CheckedRecvStream {
    stream: h3_quinn::RecvStream,
    /// `h3-quinn` does not report it while it reads.
    id: StreamId,
    /// A read is in progress.
    is_reading: bool,
    frames: Frames,
    /// Received, and not checked yet.
    received: Bytes,
}

impl CheckedRecvStream {
    fn new(stream: h3_quinn::RecvStream, frames: Frames) -> Self {
        Self {
            id: stream.recv_id(),
            stream,
            is_reading: false,
            frames,
            received: Bytes::new(),
        }
    }

    fn fail(&mut self, error: FrameError) -> StreamErrorIncoming {
        self.stop_sending(error.code().value());
        StreamErrorIncoming::Unknown(error.into())
    }
}

impl quic::RecvStream for CheckedRecvStream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            while self.received.has_remaining() {
                match self.frames.next(&mut self.received) {
                    Ok(Some(checked)) => return Poll::Ready(Ok(Some(checked))),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(self.fail(error))),
                }
            }
            self.is_reading = true;
            let received = ready!(self.stream.poll_data(cx));
            self.is_reading = false;
            match received? {
                Some(received) => self.received = received,
                None => {
                    let end = self.frames.end().map(|()| None);
                    return Poll::Ready(end.map_err(|error| self.fail(error)));
                }
            }
        }
    }

    fn stop_sending(&mut self, error_code: u64) {
        // Where a read is in progress, dropping the stream says the same, without the code.
        if !self.is_reading {
            self.stream.stop_sending(error_code);
        }
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}
