//! Listening sockets.

use std::io;
use std::net::SocketAddr;

use rustix::net::sockopt::set_ipv6_v6only;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the system queues until they are accepted, as many as Linux allows by default: it
/// drops the first packet of a further one, which its client repeats after 1, 3 and 7 s.
pub(super) const BACKLOG: u32 = 4096;

/// The transport of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    /// For clients of TCP too.
    Mptcp,
}

impl Transport {
    pub(crate) fn of(mptcp: bool) -> Self {
        match mptcp {
            true => Self::Mptcp,
            false => Self::Tcp,
        }
    }
}

/// Binds an address and listens on it, within a runtime.
///
/// An IPv6 socket takes no IPv4 connections, so that `0.0.0.0` and `[::]` can share a port.
pub(crate) fn listen(address: SocketAddr, transport: Transport) -> io::Result<TcpListener> {
    let address = unmapped(address);
    let socket = socket(address, transport)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    // A restarted server need not wait for the connections of its predecessor to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The IPv4 address that an IPv6 one such as `::ffff:192.0.2.7` stands for, which such a socket cannot
/// bind.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(ip_6) => match ip_6.ip().to_ipv4_mapped() {
            Some(ip_4) => (ip_4, ip_6.port()).into(),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

fn socket(address: SocketAddr, transport: Transport) -> io::Result<TcpSocket> {
    match (transport, address) {
        (Transport::Tcp, SocketAddr::V4(_)) => TcpSocket::new_v4(),
        (Transport::Tcp, SocketAddr::V6(_)) => TcpSocket::new_v6(),
        (Transport::Mptcp, _) => {
            let (domain, kind) = (Domain::for_address(address), Type::STREAM.nonblocking());
            let socket = Socket::new(domain, kind, Some(Protocol::MPTCP)).map_err(no_mptcp)?;
            Ok(TcpSocket::from_std_stream(socket.into()))
        }
    }
}

fn no_mptcp(error: io::Error) -> io::Error {
    let text = format!(
        "this system has no Multipath TCP ({error}); enable it with `sysctl -w \
         net.mptcp.enabled=1` in its network namespace (Linux 5.6 or later), or omit --mptcp"
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mapped_address_is_the_ip_4_address() {
        let address = "[::ffff:127.0.0.1]:0".parse().expect("an address");
        let listener = listen(address, Transport::Tcp).expect("to listen");
        let bound = listener.local_addr().expect("an address");
        assert_eq!(bound.ip(), std::net::Ipv4Addr::LOCALHOST);
    }
}
