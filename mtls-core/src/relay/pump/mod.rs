//! Moves the bytes of a tunnel, both ways, until it ends.

mod flow;
mod splice;

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

pub(super) use self::flow::Flow;
pub(super) use self::splice::Pipes;
use super::socket::{abort, reset};
use crate::proto::binding::Role;

/// The default number of pipes of a relay: at 256 KiB each, the limit of Linux for a user (`pipe(7)`,
/// `pipe-user-pages-soft`).
pub(super) const DEFAULT_PIPES: usize = 256;

/// The end of a tunnel's relaying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PumpEnd {
    /// Both ends have closed.
    Closed,
    /// One end has broken its connection; the other was reset.
    Broken { by: Role },
    /// Neither end sent anything for too long.
    Idle,
}

/// The number of bytes that each end received.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) to_server: AtomicU64,
    pub(super) to_client: AtomicU64,
}

/// Both directions of a tunnel.
pub(super) struct Pump {
    pub(super) to_server: Flow,
    pub(super) to_client: Flow,
}

/// The resources of a pump.
#[derive(Clone, Copy)]
pub(super) struct PumpContext<'a> {
    pub(super) counters: &'a Counters,
    pub(super) pipes: &'a Pipes,
    /// The longest time without a byte of either end.
    pub(super) idle: Duration,
}

/// Watches the end that has closed its half: no further read from it would report a reset.
#[derive(Default)]
struct HalfClosed {
    reset: Option<BoxFuture<'static, ()>>,
    watching: bool,
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
            to_server: Flow::new(to_server),
            to_client: Flow::new(to_client),
        }
    }

    /// Relays until both ends have closed, one has broken, or both were silent for too long (and
    /// at most twice that).
    pub(super) async fn run<C, S>(
        mut self,
        client: &mut C,
        server: &mut S,
        context: PumpContext<'_>,
    ) -> PumpEnd
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut timer = Box::pin(sleep(context.idle));
        let mut moved = context.counters.total();
        let mut half_closed = HalfClosed::default();
        let end = poll_fn(|cx| {
            if let Poll::Ready(end) = self.poll(cx, client, server, context) {
                return Poll::Ready(end);
            }
            if let Poll::Ready(end) = half_closed.poll(cx, &self, client, server) {
                return Poll::Ready(end);
            }
            while timer.as_mut().poll(cx).is_ready() {
                let now = context.counters.total();
                if std::mem::replace(&mut moved, now) == now {
                    return Poll::Ready(PumpEnd::Idle);
                }
                timer.set(sleep(context.idle));
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
        context: PumpContext<'_>,
    ) -> Poll<PumpEnd>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let PumpContext {
            counters, pipes, ..
        } = context;
        let to_server = &mut self.to_server;
        let to_server = to_server.poll(cx, client, server, &counters.to_server, pipes);
        let to_client = &mut self.to_client;
        let to_client = to_client.poll(cx, server, client, &counters.to_client, pipes);
        match (to_server, to_client) {
            (Poll::Ready(Err(Broken::Sender)), _) => Poll::Ready(Broken::Sender.end(Role::Client)),
            (_, Poll::Ready(Err(Broken::Sender))) => Poll::Ready(Broken::Sender.end(Role::Server)),
            // An end that accepts no more data may have sent some before, such as a response to a
            // request that it has not read to the end (RFC 9112, section 9.6): this comes first.
            (Poll::Ready(Err(broken)), Poll::Ready(_)) => Poll::Ready(broken.end(Role::Client)),
            (Poll::Ready(_), Poll::Ready(Err(broken))) => Poll::Ready(broken.end(Role::Server)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(PumpEnd::Closed),
            _ => Poll::Pending,
        }
    }
}

impl HalfClosed {
    fn poll<C: 'static, S: 'static>(
        &mut self,
        cx: &mut Context<'_>,
        pump: &Pump,
        client: &C,
        server: &S,
    ) -> Poll<PumpEnd> {
        let (by, watch): (_, fn(&C, &S) -> _) =
            match (pump.to_server.is_closed(), pump.to_client.is_closed()) {
                (true, false) => (Role::Client, |client, _| reset(client)),
                (false, true) => (Role::Server, |_, server| reset(server)),
                _ => return Poll::Pending,
            };
        if !std::mem::replace(&mut self.watching, true) {
            self.reset = watch(client, server);
        }
        match &mut self.reset {
            Some(reset) => reset.as_mut().poll(cx).map(|()| PumpEnd::Broken { by }),
            None => Poll::Pending,
        }
    }
}

impl Broken {
    /// The end of the tunnel that this means, where `sender` is the sender of the direction.
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

#[cfg(test)]
mod tests;
