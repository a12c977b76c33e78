//! Addresses at which no program listens.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of this address that is bound, and at which nothing listens as long as the socket exists.
pub(crate) fn closed_port(ip: impl Into<IpAddr>) -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((ip, 0).into()).expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}
