//! Listening sockets.

use std::io;
use std::net::SocketAddr;

use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the system queues until they are accepted.
pub(super) const BACKLOG: u32 = 1024;

/// Binds an address and listens on it, within a runtime.
///
/// An IPv6 socket takes no IPv4 connections, so that `0.0.0.0` and `[::]` can share a port.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    // A restarted server need not wait for the connections of its predecessor to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
