//! Moves the bytes of a tunnel, both ways, until it ends.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use super::socket::abort;
use crate::proto::binding::Role;

/// The most that a direction reads at a time, and so the most that it ever stores: what its
/// receiver has not taken yet. A direction whose bytes have all been taken stores nothing.
const CHUNK: usize = 64 * 1024;

/// How many chunks one direction moves before others have their turn.
const TURNS: usize = 16;

/// How the relaying of a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PumpEnd {
    /// Both ends have closed.
    Closed,
    /// One end has broken its connection; the other was reset.
    Broken { by: Role },
    /// Neither end sent anything for too long.
    Idle,
}

/// How many bytes each end has been handed.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) to_server: AtomicU64,
    pub(super) to_client: AtomicU64,
}

/// Both directions of a tunnel.
pub(super) struct Pump {
    pub(super) up: Flow,
    pub(super) down: Flow,
}

/// One direction.
pub(super) struct Flow {
    /// Read and not yet written, from `start` on.
    pending: Vec<u8>,
    start: usize,
    state: FlowState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlowState {
    Moving,
    /// The sender has closed: so must we, after the last byte.
    Closing,
    Closed,
}

/// The stream that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Sender,
    Receiver,
}

impl Pump {
    /// With what was read from each end before, and not yet written to the other.
    pub(super) fn new(to_server: Vec<u8>, to_client: Vec<u8>) -> Self {
        Self {
            up: Flow::new(to_server),
            down: Flow::new(to_client),
        }
    }

    /// Relays until both ends have closed, one has broken, or both were silent for `idle` (and at
    /// most twice that).
    pub(super) async fn run<C, S>(
        mut self,
        client: &mut C,
        server: &mut S,
        counters: &Counters,
        idle: Duration,
    ) -> PumpEnd
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut timer = Box::pin(sleep(idle));
        let mut moved = counters.total();
        let end = poll_fn(|cx| {
            if let Poll::Ready(end) = self.poll(cx, client, server, counters) {
                return Poll::Ready(end);
            }
            while timer.as_mut().poll(cx).is_ready() {
                let now = counters.total();
                if std::mem::replace(&mut moved, now) == now {
                    return Poll::Ready(PumpEnd::Idle);
                }
                timer.set(sleep(idle));
            }
            Poll::Pending
        })
        .await;
        match end {
            PumpEnd::Closed => {}
            PumpEnd::Broken { by: Role::Client } => abort(server),
            PumpEnd::Broken { by: Role::Server } => abort(client),
            PumpEnd::Idle => {
                abort(client);
                abort(server);
            }
        }
        end
    }

    fn poll<C, S>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        server: &mut S,
        counters: &Counters,
    ) -> Poll<PumpEnd>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let up = self.up.poll(cx, client, server, &counters.to_server);
        if let Poll::Ready(Err(broken)) = up {
            return Poll::Ready(broken.end(Role::Client));
        }
        let down = self.down.poll(cx, server, client, &counters.to_client);
        match (up, down) {
            (_, Poll::Ready(Err(broken))) => Poll::Ready(broken.end(Role::Server)),
            (Poll::Ready(_), Poll::Ready(_)) => Poll::Ready(PumpEnd::Closed),
            _ => Poll::Pending,
        }
    }
}

impl Broken {
    /// What that means for a tunnel, where the direction's sender is this end.
    pub(super) fn end(self, sender: Role) -> PumpEnd {
        let by = match (self, sender) {
            (Self::Sender, sender) => sender,
            (Self::Receiver, Role::Client) => Role::Server,
            (Self::Receiver, Role::Server) => Role::Client,
        };
        PumpEnd::Broken { by }
    }
}

impl Counters {
    fn total(&self) -> u64 {
        self.to_server.load(Ordering::Relaxed) + self.to_client.load(Ordering::Relaxed)
    }
}

impl Flow {
    pub(super) fn new(pending: Vec<u8>) -> Self {
        Self {
            pending,
            start: 0,
            state: FlowState::Moving,
        }
    }

    /// Has the sender sent something that was not written yet, or closed?
    pub(super) fn has_something(&self) -> bool {
        !self.pending.is_empty() || self.state != FlowState::Moving
    }

    /// Reads from the sender and writes nothing: at most one chunk, for a direction that is held
    /// back. Ready when there is something.
    pub(super) fn poll_fill<A>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
    ) -> Poll<Result<(), Broken>>
    where
        A: AsyncRead + Unpin,
    {
        if self.has_something() {
            return Poll::Ready(Ok(()));
        }
        let mut storage = [MaybeUninit::uninit(); CHUNK];
        let mut buffer = ReadBuf::uninit(&mut storage);
        let read = ready!(Pin::new(from).poll_read(cx, &mut buffer));
        read.map_err(|_| Broken::Sender)?;
        match buffer.filled() {
            [] => self.state = FlowState::Closing,
            read => self.pending = read.to_vec(),
        }
        Poll::Ready(Ok(()))
    }

    /// Moves what can be moved. Ready when the sender has closed and the receiver knows.
    pub(super) fn poll<A, B>(
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
        for _ in 0..TURNS {
            match self.state {
                _ if !self.pending.is_empty() => ready!(self.poll_drain(cx, to, counter))?,
                FlowState::Moving => ready!(self.poll_chunk(cx, from, to, counter))?,
                FlowState::Closing => {
                    let shut = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    shut.map_err(|_| Broken::Receiver)?;
                    self.state = FlowState::Closed;
                }
                FlowState::Closed => return Poll::Ready(Ok(())),
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
        if rest.is_empty() {
            self.state = FlowState::Closing;
        }
        while !rest.is_empty() {
            match poll_write(cx, to, rest, counter) {
                Poll::Ready(written) => rest = &rest[written?..],
                Poll::Pending => {
                    self.pending = rest.to_vec();
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
        while self.start < self.pending.len() {
            let rest = &self.pending[self.start..];
            self.start += ready!(poll_write(cx, to, rest, counter))?;
        }
        self.pending = Vec::new();
        self.start = 0;
        Poll::Ready(Ok(()))
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::task::yield_now;

    use super::*;

    const PIPE: usize = 4096;
    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn peer_that_never_reads_costs_one_chunk_and_stops_its_sender() {
        let (mut client, mut client_end) = duplex(PIPE);
        let (_server, mut server_end) = duplex(PIPE);
        let counters = Counters::default();
        let pump = Pump::new(Vec::new(), Vec::new());
        let pumping = pump.run(&mut client_end, &mut server_end, &counters, HOUR);
        let mut taken = 0;
        let mut stalled = 0;
        let flooding = async {
            while stalled < 100 {
                let write = client.write(&[7; PIPE]);
                tokio::select! {
                    biased;
                    written = write => { taken += written.expect("a pipe"); stalled = 0; }
                    () = yield_now() => stalled += 1,
                }
            }
        };
        tokio::select! {
            end = pumping => panic!("{end:?}"),
            () = flooding => {}
        }
        assert!(taken >= 2 * PIPE, "{taken}");
        assert!(taken <= 2 * PIPE + CHUNK, "{taken}");
        assert_eq!(counters.to_server.load(Ordering::Relaxed), PIPE as u64);
    }

    #[tokio::test]
    async fn what_was_read_before_leads_and_half_closes_pass() {
        let (mut client, mut client_end) = duplex(PIPE);
        let (mut server, mut server_end) = duplex(PIPE);
        let counters = Counters::default();
        let pump = Pump::new(b"one ".to_vec(), b"three ".to_vec());
        let pumping = pump.run(&mut client_end, &mut server_end, &counters, HOUR);
        let ends = async {
            client.write_all(b"two").await.expect("a pipe");
            client.shutdown().await.expect("a pipe");
            let mut asked = String::new();
            server.read_to_string(&mut asked).await.expect("a pipe");
            server.write_all(b"four").await.expect("a pipe");
            server.shutdown().await.expect("a pipe");
            let mut answered = String::new();
            client.read_to_string(&mut answered).await.expect("a pipe");
            (asked, answered)
        };
        let (end, (asked, answered)) = tokio::join!(pumping, ends);
        assert_eq!(end, PumpEnd::Closed);
        assert_eq!((&*asked, &*answered), ("one two", "three four"));
        assert_eq!(counters.total(), 17);
    }

    #[tokio::test(start_paused = true)]
    async fn tunnel_ends_when_both_ends_were_silent_for_too_long() {
        let (mut client, mut client_end) = duplex(PIPE);
        let (mut server, mut server_end) = duplex(PIPE);
        let counters = Counters::default();
        let begun = tokio::time::Instant::now();
        let pump = Pump::new(Vec::new(), Vec::new());
        let pumping = pump.run(&mut client_end, &mut server_end, &counters, HOUR);
        let ends = async {
            tokio::time::sleep(HOUR / 2).await;
            client.write_all(b"x").await.expect("a pipe");
            server.read_u8().await.expect("a byte")
        };
        let (end, _) = tokio::join!(pumping, ends);
        assert_eq!(end, PumpEnd::Idle);
        assert_eq!(begun.elapsed().as_secs(), 2 * HOUR.as_secs());
    }
}
