//! One direction of a tunnel.
//!
//! It begins by copying. While its sender fills large reads it moves the bytes within the kernel
//! instead (`splice(2)`), which takes about half the time of a processor; for short messages a copy
//! is cheaper than the two more system calls.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Broken;
use super::splice::{Pipe, Pipes, Refill};
use crate::relay::socket::as_tcp;

/// The most that a direction copies at a time, and so the most that it stores in this process:
/// what its receiver has not taken yet. A direction whose bytes have all been taken stores nothing.
pub(super) const CHUNK: usize = 64 * 1024;

/// A read of so many bytes is one of many: the next ones go through the kernel.
const BULK_READ: usize = 32 * 1024;

/// After fewer bytes than these in one splice, the next bytes are copied.
const MIN_SPLICE: usize = 16 * 1024;

/// The number of chunks that one direction moves before it yields.
const MAX_CHUNKS_PER_POLL: usize = 16;

/// One direction.
pub(in crate::relay) struct Flow {
    buffered: Buffered,
    state: FlowState,
    /// The last bytes came in bulk.
    bulk: bool,
}

/// Read and not yet written.
enum Buffered {
    Empty,
    /// From `start` on.
    Copied {
        bytes: Vec<u8>,
        start: usize,
    },
    Piped {
        pipe: Pipe,
        left: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlowState {
    Moving,
    /// The sender has closed: so must we, after the last byte.
    Closing,
    Closed,
    /// The receiver has broken its connection.
    Refused,
}

impl Flow {
    pub(in crate::relay) fn new(pending: Vec<u8>) -> Self {
        Self {
            buffered: Buffered::copied(pending),
            state: FlowState::Moving,
            bulk: false,
        }
    }

    /// Whether the sender has closed its half and the receiver was notified.
    pub(super) fn is_closed(&self) -> bool {
        self.state == FlowState::Closed
    }

    /// Whether there are bytes to write, or the sender has closed.
    pub(in crate::relay) fn has_pending(&self) -> bool {
        !matches!(self.buffered, Buffered::Empty) || self.state != FlowState::Moving
    }

    /// Reads from the sender and writes nothing: at most one chunk, for a direction that is held
    /// back. Ready when there is something.
    pub(in crate::relay) fn poll_fill<A>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
    ) -> Poll<Result<(), Broken>>
    where
        A: AsyncRead + Unpin,
    {
        if self.has_pending() {
            return Poll::Ready(Ok(()));
        }
        let mut storage = [MaybeUninit::uninit(); CHUNK];
        let mut buffer = ReadBuf::uninit(&mut storage);
        let read = ready!(Pin::new(from).poll_read(cx, &mut buffer));
        read.map_err(|_| Broken::Sender)?;
        match buffer.filled() {
            [] => self.state = FlowState::Closing,
            read => self.buffered = Buffered::copied(read.to_vec()),
        }
        Poll::Ready(Ok(()))
    }

    /// The bytes that [`poll_fill`](Self::poll_fill) has read; empty if the sender has closed.
    pub(in crate::relay) fn filled(&self) -> &[u8] {
        match &self.buffered {
            Buffered::Copied { bytes, start } => &bytes[*start..],
            Buffered::Empty | Buffered::Piped { .. } => &[],
        }
    }

    /// Writes the first `due` bytes of those, and counts them down.
    pub(in crate::relay) fn poll_release<B>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut B,
        counter: &AtomicU64,
        due: &mut usize,
    ) -> Poll<Result<(), Broken>>
    where
        B: AsyncWrite + Unpin,
    {
        if let Buffered::Copied { bytes, start } = &mut self.buffered {
            while *due > 0 {
                let written = ready!(poll_write(cx, to, &bytes[*start..*start + *due], counter))?;
                *start += written;
                *due -= written;
            }
            if *start == bytes.len() {
                self.buffered = Buffered::Empty;
            }
        }
        let flushed = ready!(Pin::new(to).poll_flush(cx));
        Poll::Ready(flushed.map_err(|_| Broken::Receiver))
    }

    /// Moves what can be moved. Ready when the sender has closed and the receiver knows, and when
    /// either end has broken its connection; a receiver that has stays so.
    pub(in crate::relay) fn poll<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
        counter: &AtomicU64,
        pipes: &Pipes,
    ) -> Poll<Result<(), Broken>>
    where
        A: AsyncRead + Unpin + 'static,
        B: AsyncWrite + Unpin + 'static,
    {
        let moved = self.poll_moving(cx, from, to, counter, pipes);
        if let Poll::Ready(Err(Broken::Receiver)) = moved {
            self.state = FlowState::Refused;
            self.buffered = Buffered::Empty;
        }
        moved
    }

    fn poll_moving<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
        counter: &AtomicU64,
        pipes: &Pipes,
    ) -> Poll<Result<(), Broken>>
    where
        A: AsyncRead + Unpin + 'static,
        B: AsyncWrite + Unpin + 'static,
    {
        for _ in 0..MAX_CHUNKS_PER_POLL {
            match (&self.buffered, self.state) {
                (Buffered::Copied { .. }, _) => ready!(self.poll_drain(cx, to, counter))?,
                (Buffered::Piped { .. }, _) => ready!(self.poll_empty(cx, to, counter, pipes))?,
                (Buffered::Empty, FlowState::Moving) => match self.refill(cx, from, to, pipes) {
                    Some(refilled) => ready!(refilled)?,
                    None => ready!(self.poll_chunk(cx, from, to, counter))?,
                },
                (Buffered::Empty, FlowState::Closing) => {
                    let shut = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    shut.map_err(|_| Broken::Receiver)?;
                    self.state = FlowState::Closed;
                }
                (Buffered::Empty, FlowState::Closed) => return Poll::Ready(Ok(())),
                (Buffered::Empty, FlowState::Refused) => {
                    return Poll::Ready(Err(Broken::Receiver));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads a chunk and writes as much of it as the receiver takes; the buffer is on the stack,
    /// so that a silent tunnel has none.
    fn poll_chunk<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
        counter: &AtomicU64,
    ) -> Poll<Result<(), Broken>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        let mut storage = [MaybeUninit::uninit(); CHUNK];
        let mut buffer = ReadBuf::uninit(&mut storage);
        match Pin::new(from).poll_read(cx, &mut buffer) {
            Poll::Ready(read) => read.map_err(|_| Broken::Sender)?,
            Poll::Pending => {
                let flushed = ready!(Pin::new(to).poll_flush(cx));
                flushed.map_err(|_| Broken::Receiver)?;
                return Poll::Pending;
            }
        }
        let mut rest = buffer.filled();
        self.bulk = rest.len() >= BULK_READ;
        if rest.is_empty() {
            self.state = FlowState::Closing;
        }
        while !rest.is_empty() {
            match poll_write(cx, to, rest, counter) {
                Poll::Ready(written) => rest = &rest[written?..],
                Poll::Pending => {
                    self.buffered = Buffered::copied(rest.to_vec());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_drain<B>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut B,
        counter: &AtomicU64,
    ) -> Poll<Result<(), Broken>>
    where
        B: AsyncWrite + Unpin,
    {
        if let Buffered::Copied { bytes, start } = &mut self.buffered {
            while *start < bytes.len() {
                *start += ready!(poll_write(cx, to, &bytes[*start..], counter))?;
            }
        }
        self.buffered = Buffered::Empty;
        Poll::Ready(Ok(()))
    }

    /// Fills a pipe from the sender. `None` when the next bytes are to be copied: they come in
    /// small pieces, an end is no socket, or no pipe is available.
    fn refill<A: 'static, B: 'static>(
        &mut self,
        cx: &mut Context<'_>,
        from: &A,
        to: &B,
        pipes: &Pipes,
    ) -> Option<Poll<Result<(), Broken>>> {
        if !self.bulk {
            return None;
        }
        let (from, _) = as_tcp(from).zip(as_tcp(to))?;
        let pipe = pipes.acquire()?;
        let refill = pipe.poll_refill(cx, from);
        if let Poll::Ready(Ok(Refill::Bytes(left))) = refill {
            self.bulk = left >= MIN_SPLICE;
            self.buffered = Buffered::Piped { pipe, left };
            return Some(Poll::Ready(Ok(())));
        }
        pipes.recycle(pipe);
        match refill {
            Poll::Pending => return Some(Poll::Pending),
            Poll::Ready(Ok(Refill::Impossible)) => {
                self.bulk = false;
                return None;
            }
            Poll::Ready(Ok(_)) => self.state = FlowState::Closing,
            Poll::Ready(Err(_)) => return Some(Poll::Ready(Err(Broken::Sender))),
        }
        Some(Poll::Ready(Ok(())))
    }

    /// Empties the pipe to the receiver, and gives it back.
    fn poll_empty<B: 'static>(
        &mut self,
        cx: &mut Context<'_>,
        to: &B,
        counter: &AtomicU64,
        pipes: &Pipes,
    ) -> Poll<Result<(), Broken>> {
        if let Buffered::Piped { pipe, left } = &mut self.buffered {
            // Only what is for a socket enters a pipe.
            let to = as_tcp(to).ok_or(Broken::Receiver)?;
            while *left > 0 {
                let written = ready!(pipe.poll_empty(cx, to, *left));
                let written = written.map_err(|_| Broken::Receiver)?;
                counter.fetch_add(written as u64, Ordering::Relaxed);
                *left -= written;
            }
        }
        if let Buffered::Piped { pipe, .. } = std::mem::replace(&mut self.buffered, Buffered::Empty)
        {
            pipes.recycle(pipe);
        }
        Poll::Ready(Ok(()))
    }
}

impl Buffered {
    fn copied(bytes: Vec<u8>) -> Self {
        match bytes.is_empty() {
            true => Self::Empty,
            false => Self::Copied { bytes, start: 0 },
        }
    }
}

fn poll_write<B: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    to: &mut B,
    bytes: &[u8],
    counter: &AtomicU64,
) -> Poll<Result<usize, Broken>> {
    let written = ready!(Pin::new(to).poll_write(cx, bytes));
    let written = match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        other => other,
    };
    Poll::Ready(match written {
        Ok(written) => {
            counter.fetch_add(written as u64, Ordering::Relaxed);
            Ok(written)
        }
        Err(_) => Err(Broken::Receiver),
    })
}
