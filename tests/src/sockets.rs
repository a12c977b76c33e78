//! Sockets that the standard library does not open, or not in one step.

use std::io;
use std::net::{self, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::Result;

/// Listens for Multipath TCP, and for TCP.
///
/// # Errors
/// Errors of the system.
pub fn mptcp_listener(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::MPTCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(TcpListener::from_std(socket.into())?)
}

/// Ports that are tried until one is free for UDP and for TCP.
const PORTS: usize = 32;

/// A UDP socket at `address`, and a TCP listener on the port of the same number. If the address has no
/// port, it is one that is free for both.
///
/// # Errors
/// Errors of the system.
pub(crate) fn udp_and_tcp(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = PORTS;
    loop {
        tries -= 1;
        let udp = UdpSocket::bind(address)?;
        match net::TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => {
                tcp.set_nonblocking(true)?;
                return Ok((udp, TcpListener::from_std(tcp)?));
            }
            Err(error) if address.port() != 0 || tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}
