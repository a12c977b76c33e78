//! The transports of accepted connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::{ipproto, sockopt};
use tokio::net::TcpStream;

/// The number of connections that a service has accepted at its addresses for TLS, by transport. Side
/// connections at the same addresses count too. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct AcceptedConnections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    tcp: AtomicU64,
    mptcp: AtomicU64,
}

impl AcceptedConnections {
    /// The number of those over TCP.
    pub fn tcp(&self) -> u64 {
        self.0.tcp.load(Ordering::Relaxed)
    }

    /// The number of those over Multipath TCP (RFC 8684). One that falls back to TCP after it was accepted
    /// counts here.
    pub fn mptcp(&self) -> u64 {
        self.0.mptcp.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, stream: &TcpStream) {
        // A socket that listens for Multipath TCP gives a client of TCP one of TCP.
        let count = match sockopt::socket_protocol(stream) {
            Ok(Some(ipproto::MPTCP)) => &self.0.mptcp,
            _ => &self.0.tcp,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
