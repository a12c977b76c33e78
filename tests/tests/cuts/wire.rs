//! A connection in memory, in virtual time: bytes that travel, and one fault after an exact byte.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// More than any flight.
const BUFFER: usize = 1 << 16;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// The event after the last byte that arrives in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Both ends read the end of the connection.
    Close,
    /// Nothing arrives any more in either direction, and the connection stays open.
    Swallow,
    /// The rest of this direction arrives this much later. The other direction is unaffected.
    Delay(Duration),
}

/// A fault of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) direction: Direction,
    /// The bytes of this direction that arrive before it, from the time that it is set.
    pub(crate) after: usize,
    pub(crate) effect: Effect,
}

/// A connection between two ends. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Wire {
    shared: Arc<Shared>,
}

struct Shared {
    one_way: Duration,
    state: Mutex<State>,
    end: watch::Sender<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    No,
    Closed,
    Swallowed,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    /// All that was sent, in each direction.
    sent: [Vec<u8>; 2],
    /// The number of bytes that have arrived, in each direction.
    arrived: [usize; 2],
    /// The value of `arrived` when the fault was set.
    base: [usize; 2],
}

/// Bytes on their way; none: the sender has closed.
struct Packet {
    due: Instant,
    bytes: Vec<u8>,
}

impl Wire {
    /// A connection that takes `one_way` for each byte, and its two ends: the client's, then the
    /// server's.
    pub(crate) fn new(
        one_way: Duration,
        fault: Option<Fault>,
    ) -> (Self, DuplexStream, DuplexStream) {
        let (client, near) = duplex(BUFFER);
        let (far, server) = duplex(BUFFER);
        let wire = Self {
            shared: Arc::new(Shared {
                one_way,
                state: Mutex::default(),
                end: watch::channel(End::No).0,
            }),
        };
        let (near_read, near_write) = split(near);
        let (far_read, far_write) = split(far);
        wire.carry(Direction::ToServer, near_read, far_write);
        wire.carry(Direction::ToClient, far_read, near_write);
        if let Some(fault) = fault {
            wire.set(fault);
        }
        (wire, client, server)
    }

    /// Sets the fault. It counts the bytes that arrive from now on.
    pub(crate) fn set(&self, fault: Fault) {
        let mut state = self.shared.lock();
        state.base = state.arrived;
        state.fault = Some(fault);
        if fault.after == 0 {
            self.shared.end_by(fault.effect);
        }
    }

    /// The bytes that were sent in this direction, whether they arrived or not.
    pub(crate) fn sent(&self, direction: Direction) -> Vec<u8> {
        self.shared.lock().sent[direction as usize].clone()
    }

    fn carry<R, W>(&self, direction: Direction, mut from: R, mut to: W)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, mut packets) = mpsc::unbounded_channel::<Packet>();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tokio::select! {
                () = shared.take_in(direction, &mut from, sender) => {}
                () = shared.closed() => {}
            }
        });
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = shared.closed() => {}
                () = shared.hand_out(direction, &mut packets, &mut to) => {}
            }
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_by(&self, effect: Effect) {
        match effect {
            Effect::Close => drop(self.end.send_replace(End::Closed)),
            Effect::Swallow => drop(self.end.send_replace(End::Swallowed)),
            Effect::Delay(_) => {}
        }
    }

    async fn closed(&self) {
        let mut end = self.end.subscribe();
        // The sender is in this very struct.
        let _ = end.wait_for(|end| *end == End::Closed).await;
    }

    async fn take_in<R: AsyncRead + Unpin>(
        &self,
        direction: Direction,
        from: &mut R,
        packets: mpsc::UnboundedSender<Packet>,
    ) {
        let mut buffer = vec![0; BUFFER];
        // An end that was dropped has closed too.
        while let Ok(read) = from.read(&mut buffer).await {
            let bytes = buffer[..read].to_vec();
            self.lock().sent[direction as usize].extend_from_slice(&bytes);
            let due = Instant::now() + self.one_way;
            if packets.send(Packet { due, bytes }).is_err() || read == 0 {
                return;
            }
        }
    }

    async fn hand_out<W: AsyncWrite + Unpin>(
        &self,
        direction: Direction,
        packets: &mut mpsc::UnboundedReceiver<Packet>,
        to: &mut W,
    ) {
        while let Some(Packet { due, bytes }) = packets.recv().await {
            sleep_until(due).await;
            if bytes.is_empty() {
                if *self.end.borrow() != End::Swallowed {
                    // An end that was dropped reads nothing any more.
                    let _ = to.shutdown().await;
                }
                continue;
            }
            let (in_time, rest) = bytes.split_at(self.before_fault(direction, bytes.len()));
            self.deliver(direction, in_time, to).await;
            if let Some(effect) = self.fault_is_due(direction) {
                self.end_by(effect);
                if let Effect::Delay(delay) = effect {
                    tokio::time::sleep(delay).await;
                    self.lock().fault = None;
                }
            }
            self.deliver(direction, rest, to).await;
        }
    }

    /// The number of the next `bytes` that arrive before the fault.
    fn before_fault(&self, direction: Direction, bytes: usize) -> usize {
        let state = self.lock();
        let arrived = state.arrived[direction as usize] - state.base[direction as usize];
        match state.fault.filter(|fault| fault.direction == direction) {
            Some(fault) => bytes.min(fault.after.saturating_sub(arrived)),
            None => bytes,
        }
    }

    fn fault_is_due(&self, direction: Direction) -> Option<Effect> {
        let state = self.lock();
        let arrived = state.arrived[direction as usize] - state.base[direction as usize];
        let fault = state.fault?;
        (fault.direction == direction && arrived >= fault.after).then_some(fault.effect)
    }

    async fn deliver<W: AsyncWrite + Unpin>(&self, direction: Direction, bytes: &[u8], to: &mut W) {
        if bytes.is_empty() || *self.end.borrow() != End::No {
            return;
        }
        self.lock().arrived[direction as usize] += bytes.len();
        // An end that was dropped reads nothing any more.
        let _ = to.write_all(bytes).await;
    }
}
