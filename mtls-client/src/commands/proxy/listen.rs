//! The sockets that the proxy listens on.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use rustix::net::sockopt::set_ipv6_v6only;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;

use super::{Proxy, dispatch};
use crate::exit::Exit;
use crate::failure::Failure;

/// The pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The maximum number of connections that wait to be accepted: as many as Linux allows by default.
const BACKLOG: u32 = 4096;

pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for address in addresses {
        let socket = listen(*address).map_err(|error| {
            let message = format!(
                "could not listen on {address}: {error}; choose another address with --listen"
            );
            Failure::new(Exit::Connect, "could-not-listen", message)
        })?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Listens on one address. An IPv6 socket does not accept IPv4 connections, so that `0.0.0.0` and
/// `[::]` can share a port.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether a socket that listens on `own` accepts connections to `target`. The families are not
/// compared: an address of one may lead to the other.
pub(super) fn accepts(own: SocketAddr, target: SocketAddr) -> bool {
    let (own_ip, target_ip) = (own.ip().to_canonical(), target.ip().to_canonical());
    own.port() == target.port()
        && (own_ip == target_ip
            || target_ip.is_unspecified()
            || own_ip.is_unspecified() && is_here(target))
}

/// Whether this host has the address; only then a socket can be bound to it.
fn is_here(mut address: SocketAddr) -> bool {
    address.set_ip(address.ip().to_canonical());
    address.set_port(0);
    match UdpSocket::bind(address) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

/// Serves clients, at most `limit` at a time; further ones wait in the queue of the system.
pub(super) async fn accept(
    proxy: &Arc<Proxy>,
    sockets: Vec<TcpListener>,
    limit: usize,
) -> Infallible {
    let permits = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
    let loops = sockets.into_iter().map(|socket| {
        let (proxy, permits) = (Arc::clone(proxy), Arc::clone(&permits));
        Box::pin(async move { accept_from(&proxy, &socket, &permits).await })
    });
    select_all(loops).await.0
}

async fn accept_from(
    proxy: &Arc<Proxy>,
    socket: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Infallible {
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
            std::future::pending().await
        };
        match socket.accept().await {
            Ok((stream, peer)) => {
                // Hellos are small, and each end waits for the other's.
                let _ = stream.set_nodelay(true);
                let proxy = Arc::clone(proxy);
                tokio::spawn(async move {
                    dispatch::serve(proxy, stream, peer).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Raises the soft limit of open files, usually 1024, up to the hard limit: each tunnel has two
/// sockets, and may have a side connection.
pub(super) fn raise_file_limit(tunnels: usize) {
    let wanted = 4 * u64::try_from(tunnels).unwrap_or(u64::MAX / 8) + 1024;
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.current.is_none_or(|current| current >= wanted);
    let allowed = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if !enough {
        let raised = Rlimit {
            current: Some(allowed),
            maximum: limit.maximum,
        };
        // If it fails, there are fewer tunnels: the accept loop pauses without files.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_accepts_its_own_address_or_every_address_of_this_host() {
        for (own, target, expected) in [
            ("127.0.0.1:8118", "127.0.0.1:8118", true),
            ("127.0.0.1:8118", "[::ffff:127.0.0.1]:8118", true),
            ("127.0.0.1:8118", "127.0.0.1:8119", false),
            ("127.0.0.1:8118", "127.0.0.2:8118", false),
            ("127.0.0.1:8118", "0.0.0.0:8118", true),
            ("0.0.0.0:8118", "127.0.0.1:8118", true),
            ("0.0.0.0:8118", "127.9.9.9:8118", true),
            ("0.0.0.0:8118", "127.0.0.1:443", false),
            ("0.0.0.0:8118", "198.51.100.255:8118", false),
            ("[::]:8118", "127.0.0.1:8118", true),
            ("[::]:8118", "[::ffff:127.0.0.1]:8118", true),
            ("[::]:8118", "198.51.100.255:8118", false),
        ] {
            let accepted = accepts(own.parse().unwrap(), target.parse().unwrap());
            assert_eq!(accepted, expected, "{own} {target}");
        }
    }
}
