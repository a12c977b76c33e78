//! A listener for many concurrent tunnels, within bounds.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::RelayAccepted;
use super::monitor::TunnelMonitor;
use super::server::ServerRelay;
use crate::accept::{ConnectionHandler, ConnectionLimiter, ListenerKind, SilentSlot};
use crate::accept::{Incoming, ListenerLimits};
use crate::error::{Error, InvalidMessage};
use crate::observer::Event;
use crate::path::{Dial, Path};

/// Accepts connections of which some are for the target and some are side connections, and serves
/// them. Dropping it ends what is under way.
pub struct RelayListener<D: Dial = Path> {
    handler: Arc<Handler<D>>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// Observes the start of each tunnel; its return value is dropped when the tunnel ends.
type TunnelObserver = dyn Fn(TunnelMonitor, SocketAddr) -> Box<dyn Any + Send> + Send + Sync;

struct Handler<D: Dial> {
    relay: ServerRelay<D>,
    limiter: Arc<ConnectionLimiter>,
    observer: Box<TunnelObserver>,
    /// The number of open tunnels.
    tunnels: watch::Sender<usize>,
}

impl<D: Dial> fmt::Debug for RelayListener<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayListener")
            .field("relay", &self.handler.relay)
            .field("limiter", &self.handler.limiter)
            .finish_non_exhaustive()
    }
}

impl<D: Dial> RelayListener<D> {
    /// A relay that listens nowhere yet: [`add`](Self::add), and perhaps
    /// [`add_side`](Self::add_side). The observer is called at the start of each tunnel, with the
    /// client's address; its return value is dropped at the end. Neither may block.
    pub fn new<W: Send + 'static>(
        relay: ServerRelay<D>,
        limits: ListenerLimits,
        observer: impl Fn(TunnelMonitor, SocketAddr) -> W + Send + Sync + 'static,
    ) -> Self {
        Self {
            handler: Arc::new(Handler {
                relay,
                limiter: Arc::new(ConnectionLimiter::new(limits)),
                observer: Box::new(move |monitor, peer| Box::new(observer(monitor, peer))),
                tunnels: watch::Sender::new(0),
            }),
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Listens for connections to the target and for side connections on one port.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn add<I: Incoming>(&mut self, incoming: I) {
        self.listen(incoming, ListenerKind::TlsAndSide);
    }

    /// Listens for side connections elsewhere; TLS is refused there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn add_side<I: Incoming>(&mut self, incoming: I) {
        self.listen(incoming, ListenerKind::SideOnly);
    }

    /// The number of connections that have not sent a complete ClientHello yet.
    pub fn silent(&self) -> usize {
        self.handler.limiter.silent()
    }

    /// The number of open tunnels.
    pub fn tunnels(&self) -> usize {
        *self.handler.tunnels.borrow()
    }

    /// The number of verifications under way on side connections: from an Open, or the beginning of
    /// the side connection, until the Confirm.
    pub fn verifications(&self) -> usize {
        self.handler.relay.inner.sides.verifications()
    }

    /// Closes the listening sockets. Open tunnels continue, and so do the side connections that
    /// verify them.
    pub fn stop_accepting(&self) {
        self.stop.send_replace(true);
    }

    /// Completes when no tunnel is open; safe to drop. Meant for after
    /// [`stop_accepting`](Self::stop_accepting).
    pub async fn drained(&self) {
        // The sender lives as long as `self`.
        let _ = self
            .handler
            .tunnels
            .subscribe()
            .wait_for(|open| *open == 0)
            .await;
    }

    fn listen<I: Incoming>(&mut self, incoming: I, kind: ListenerKind) {
        let limiter = Arc::clone(&self.handler.limiter);
        let handler = Arc::clone(&self.handler);
        let stop = self.stop.subscribe();
        self.tasks
            .spawn(limiter.accept_loop(incoming, kind, handler, stop));
    }
}

impl<S, D> ConnectionHandler<S> for Handler<D>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    D: Dial,
{
    async fn handle(
        &self,
        stream: S,
        peer: SocketAddr,
        kind: ListenerKind,
        silent: SilentSlot,
    ) -> Result<(), Error> {
        let sides = &self.relay.inner.sides;
        let failed = |error: &Error| sides.notify(&Event::Failed(error));
        match (self.relay.accept(stream, peer).await?, kind) {
            (RelayAccepted::Side(side), _) => {
                drop(silent);
                // On the heap, as the tunnel: the task of a silent connection stays small.
                Box::pin(side.run()).await
            }
            (RelayAccepted::Tunnel(_), ListenerKind::SideOnly) => {
                Err(InvalidMessage::TlsOnSideListener.into()).inspect_err(failed)
            }
            (RelayAccepted::Tunnel(tunnel), ListenerKind::TlsAndSide) => {
                let _open = OpenTunnel::count(&self.tunnels);
                let waiting = self.limiter.begin_handshake(silent);
                let _watch = (self.observer)(tunnel.monitor(), peer);
                let max_wait = self.relay.inner.sides.settings.handshake_timeout;
                let permit = match waiting.acquire_permit(max_wait).await {
                    Ok(permit) => permit,
                    Err(busy) => {
                        tunnel.refuse(busy);
                        return Ok(());
                    }
                };
                Box::pin(tunnel.run_with_permit(permit)).await;
                Ok(())
            }
        }
    }
}

/// An open tunnel, counted.
struct OpenTunnel<'a>(&'a watch::Sender<usize>);

impl<'a> OpenTunnel<'a> {
    fn count(tunnels: &'a watch::Sender<usize>) -> Self {
        tunnels.send_modify(|open| *open += 1);
        Self(tunnels)
    }
}

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}
