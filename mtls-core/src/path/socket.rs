//! The sockets of a path, bound as the path demands.

use core::net::SocketAddr;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt::TcpFastOpenConnect};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use super::address::HostAddress;
use super::error::DialFailure;

/// The binding of a path's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SocketBinding {
    /// Nothing.
    None,
    /// An interface.
    Interface(Arc<str>),
    /// A source address.
    Source(HostAddress),
}

impl SocketBinding {
    /// A TCP socket for `peer` that is bound.
    pub(super) fn tcp_socket(&self, peer: SocketAddr) -> Result<TcpSocket, DialFailure> {
        let other = |error| DialFailure::Other(Arc::new(error));
        let socket = if peer.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        };
        let socket = socket.map_err(other)?;
        socket.set_nodelay(true).map_err(other)?;
        match self {
            Self::None => {}
            Self::Interface(name) => {
                bind_device(&socket, name).map_err(|e| DialFailure::Interface {
                    name: name.to_string(),
                    error: e.into(),
                })?
            }
            Self::Source(source) => {
                let bound = source
                    .socket_address(0)
                    .and_then(|local| socket.bind(local));
                bound.map_err(|e| DialFailure::Source {
                    source: source.ip(),
                    error: e.into(),
                })?
            }
        }
        Ok(socket)
    }
}

/// Binds a socket to an interface (`SO_BINDTODEVICE`).
pub(super) fn bind_device<S: AsFd>(socket: &S, name: &str) -> io::Result<()> {
    SockRef::from(socket).bind_device(Some(name.as_bytes()))
}

/// The interface that a socket is bound to, by the kernel's name: the path may have been given an
/// alternative one.
pub(super) fn device(stream: &TcpStream) -> Option<String> {
    let name = SockRef::from(stream).device().ok()??;
    String::from_utf8(name).ok()
}

/// Sends the SYN with the first bytes, where the kernel knows the server's cookie. A kernel that
/// cannot do so connects as ever.
pub(super) fn defer_syn(socket: &TcpSocket) {
    if let Err(error) = setsockopt(socket, TcpFastOpenConnect, &true) {
        tracing::debug!(%error, "no TCP Fast Open");
    }
}
