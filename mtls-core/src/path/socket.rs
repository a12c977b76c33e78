//! The sockets of a path, bound as the path demands.

use core::net::SocketAddr;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt::TcpFastOpenConnect};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpSocket;

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
        let socket = if peer.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        };
        let socket = socket.map_err(|error| DialFailure::Other(Arc::new(error)))?;
        self.bind(socket)
    }

    /// A Multipath TCP socket for `peer` that is bound.
    pub(super) fn mptcp_socket(&self, peer: SocketAddr) -> Result<TcpSocket, DialFailure> {
        let socket = mptcp_socket(Domain::for_address(peer));
        self.bind(socket.map_err(|error| DialFailure::Mptcp(Arc::new(error)))?)
    }

    fn bind(&self, socket: TcpSocket) -> Result<TcpSocket, DialFailure> {
        let other = |error| DialFailure::Other(Arc::new(error));
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

    /// A UDP socket that is bound, to `local`'s port and, but for a source, to its address. It does not
    /// block.
    #[cfg(any(feature = "dns", feature = "quic"))]
    pub(super) fn udp_socket(&self, local: SocketAddr) -> io::Result<std::net::UdpSocket> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, None)?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        let local = match self {
            Self::None => local,
            Self::Source(source) => source.socket_address(local.port())?,
            Self::Interface(name) => {
                bind_device(&socket, name)?;
                local
            }
        };
        socket.bind(&local.into())?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    /// The failure of a socket that could not be bound.
    #[cfg(feature = "quic")]
    pub(super) fn failure(&self, error: io::Error) -> DialFailure {
        let error = Arc::new(error);
        match self {
            Self::None => DialFailure::Other(error),
            Self::Interface(name) => DialFailure::Interface {
                name: name.to_string(),
                error,
            },
            Self::Source(source) => DialFailure::Source {
                source: source.ip(),
                error,
            },
        }
    }
}

fn mptcp_socket(domain: Domain) -> io::Result<TcpSocket> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::MPTCP))?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Binds a socket to an interface (`SO_BINDTODEVICE`).
fn bind_device<S: AsFd>(socket: &S, name: &str) -> io::Result<()> {
    SockRef::from(socket).bind_device(Some(name.as_bytes()))
}

/// The interface that a socket is bound to, by the kernel's name: the path may have been given an
/// alternative one.
pub(super) fn device<S: AsFd>(socket: &S) -> Option<String> {
    let name = SockRef::from(socket).device().ok()??;
    String::from_utf8(name).ok()
}

/// Sends the SYN with the first bytes, where the kernel knows the server's cookie. A kernel that
/// cannot do so connects as ever.
pub(super) fn defer_syn(socket: &TcpSocket) {
    if let Err(error) = setsockopt(socket, TcpFastOpenConnect, &true) {
        tracing::debug!(%error, "no TCP Fast Open");
    }
}
