//! Holds the datagrams of handshakes back while a registry has not acknowledged them yet.
//!
//! quinn asks its session for the first flight when the ClientHello arrives, and sends it at once. A
//! registry that is not in memory answers later, and no ServerHello may leave before
//! (`docs/protocol.md`, section 3.2). A datagram with packets of a handshake names the connection by its
//! source connection ID (RFC 9000, section 17.2).

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, UdpPoller};

use crate::sync::lock;

/// The most bytes of one connection that are held: more than a first flight, and than RFC 9000,
/// section 8.1, lets a server send to an address that is not validated yet. More are dropped, as by a
/// network.
const MAX_HELD: usize = 64 * 1024;

/// The connections whose datagrams are held.
#[derive(Default)]
pub(super) struct Gate {
    held: Mutex<HashMap<ConnectionId, Held>>,
    /// How many there are: mostly none, and then no datagram is looked at.
    count: AtomicUsize,
    /// Whether there is a socket that asks this gate.
    has_socket: AtomicBool,
}

/// The datagrams of one connection, and the socket that they leave by.
#[derive(Default)]
struct Held {
    datagrams: Vec<Datagrams>,
    bytes: usize,
    socket: Option<Arc<dyn AsyncUdpSocket>>,
}

/// One call's datagrams.
struct Datagrams {
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    contents: Vec<u8>,
    segment_size: Option<usize>,
    src_ip: Option<IpAddr>,
}

/// A connection whose datagrams are held. Dropping it drops them.
pub(super) struct Hold {
    gate: Arc<Gate>,
    source: ConnectionId,
}

impl Gate {
    /// Whether datagrams can be held: there is a socket that asks.
    pub(super) fn has_socket(&self) -> bool {
        self.has_socket.load(Ordering::Acquire)
    }

    /// Holds the datagrams of a connection from now on.
    pub(super) fn hold(self: &Arc<Self>, source: ConnectionId) -> Hold {
        lock(&self.held).insert(source, Held::default());
        self.count.fetch_add(1, Ordering::AcqRel);
        Hold {
            gate: Arc::clone(self),
            source,
        }
    }

    fn take(&self, source: &ConnectionId) -> Held {
        let held = lock(&self.held).remove(source);
        if held.is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        held.unwrap_or_default()
    }

    /// Keeps these datagrams if they are to be held.
    fn keeps(&self, socket: &Arc<dyn AsyncUdpSocket>, transmit: &Transmit<'_>) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let Some(source) = source(transmit.contents) else {
            return false;
        };
        let mut connections = lock(&self.held);
        let Some(held) = connections.get_mut(&source) else {
            return false;
        };
        held.keep(socket, transmit);
        true
    }
}

impl Held {
    fn keep(&mut self, socket: &Arc<dyn AsyncUdpSocket>, transmit: &Transmit<'_>) {
        self.bytes += transmit.contents.len();
        if self.bytes > MAX_HELD {
            return;
        }
        self.socket.get_or_insert_with(|| Arc::clone(socket));
        self.datagrams.push(Datagrams {
            destination: transmit.destination,
            ecn: transmit.ecn,
            contents: transmit.contents.to_vec(),
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        });
    }
}

impl Hold {
    /// Sends what was held, and holds nothing any more.
    pub(super) async fn release(self) {
        let Held {
            datagrams, socket, ..
        } = self.gate.take(&self.source);
        let Some(socket) = socket else {
            return;
        };
        let mut poller = Arc::clone(&socket).create_io_poller();
        for datagrams in datagrams {
            while datagrams.send(&*socket) {
                if poll_fn(|cx| poller.as_mut().poll_writable(cx))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.gate.take(&self.source));
    }
}

impl Datagrams {
    /// Whether to try again. Any other error is a loss on the network, which QUIC repairs.
    fn send(&self, socket: &dyn AsyncUdpSocket) -> bool {
        let sent = socket.try_send(&Transmit {
            destination: self.destination,
            ecn: self.ecn,
            contents: &self.contents,
            segment_size: self.segment_size,
            src_ip: self.src_ip,
        });
        sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The source connection ID of the packet that begins a datagram, if its header is long (RFC 9000,
/// section 17.2).
fn source(datagram: &[u8]) -> Option<ConnectionId> {
    const LONG_HEADER: u8 = 0x80;
    const MAX_CID_LEN: usize = 20;
    let (first, rest) = datagram.split_first()?;
    let (_version, rest) = rest.split_at_checked(4)?;
    let (&length, rest) = rest.split_first()?;
    let (_destination, rest) = rest.split_at_checked(length.into())?;
    let (&length, rest) = rest.split_first()?;
    let (source, _) = rest.split_at_checked(length.into())?;
    let is_long = first & LONG_HEADER != 0 && source.len() <= MAX_CID_LEN;
    is_long.then(|| ConnectionId::new(source))
}

/// A UDP socket behind a gate.
pub(super) struct GatedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    gate: Arc<Gate>,
}

impl GatedSocket {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>, gate: Arc<Gate>) -> Self {
        gate.has_socket.store(true, Ordering::Release);
        Self { inner, gate }
    }
}

impl fmt::Debug for GatedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl AsyncUdpSocket for GatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.gate.keeps(&self.inner, transmit) {
            true => Ok(()),
            false => self.inner.try_send(transmit),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_connection_id_is_that_of_a_long_header() {
        let initial = [0xc3, 0, 0, 0, 1, 2, 7, 7, 3, 1, 2, 3, 0, 0];
        assert_eq!(source(&initial), Some(ConnectionId::new(&[1, 2, 3])));
        let mut short = initial;
        short[0] = 0x43;
        assert_eq!(source(&short), None);
        assert_eq!(source(&initial[..9]), None, "cut off");
        assert_eq!(source(&[]), None);
    }

    #[test]
    fn a_hold_that_is_given_up_leaves_nothing_behind() {
        let gate = Arc::new(Gate::default());
        let hold = gate.hold(ConnectionId::new(&[1]));
        assert_eq!(gate.count.load(Ordering::Acquire), 1);
        drop(hold);
        assert_eq!(gate.count.load(Ordering::Acquire), 0);
        assert!(lock(&gate.held).is_empty());
    }
}
