//! The sockets that the proxy listens on.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use rustix::net::sockopt::set_ipv6_v6only;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;

use super::{Proxy, dispatch};
use crate::connect::failure::Failure;
use crate::exit::Exit;

/// How long to wait when the system gives no more connections.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1024;

pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for address in addresses {
        let socket = listen(*address).map_err(|error| {
            let message = format!(
                "could not listen on {address}: {error}. Choose another address with --listen."
            );
            Failure::new(Exit::Connect, "could-not-listen", message)
        })?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// An IPv6 socket takes no IPv4 connections, so that `0.0.0.0` and `[::]` can share a port.
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

/// Serves whoever comes, at most `most` at a time; the others wait in the system's queue.
pub(super) async fn accept(
    proxy: &Arc<Proxy>,
    sockets: Vec<TcpListener>,
    most: usize,
) -> Infallible {
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let loops = sockets.into_iter().map(|socket| {
        let (proxy, places) = (Arc::clone(proxy), Arc::clone(&places));
        Box::pin(async move { accept_from(&proxy, &socket, &places).await })
    });
    select_all(loops).await.0
}

async fn accept_from(
    proxy: &Arc<Proxy>,
    socket: &TcpListener,
    places: &Arc<Semaphore>,
) -> Infallible {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else {
            std::future::pending().await
        };
        match socket.accept().await {
            Ok((stream, peer)) => {
                // The hellos are small, and each waits for the other.
                let _ = stream.set_nodelay(true);
                let proxy = Arc::clone(proxy);
                tokio::spawn(async move {
                    dispatch::attend(proxy, stream, peer).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Each tunnel has two sockets, and perhaps a side connection: more than the system's usual soft
/// limit of 1024 files is wanted, and allowed by the hard one.
pub(super) fn allow_many_files(tunnels: usize) {
    let wanted = 4 * u64::try_from(tunnels).unwrap_or(u64::MAX / 8) + 1024;
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.current.is_none_or(|current| current >= wanted);
    let allowed = limit.maximum.map_or(wanted, |most| wanted.min(most));
    if !enough {
        let raised = Rlimit {
            current: Some(allowed),
            maximum: limit.maximum,
        };
        // With fewer files, fewer tunnels: the accept loop pauses when they run out.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}
