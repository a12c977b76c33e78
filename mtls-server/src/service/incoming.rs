//! Several listening sockets as one, until the service stops.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use mtls_core::Incoming;
use tokio::net::{TcpListener, TcpStream};

use super::{Stopping, listen};
use crate::error::Error;

/// Accepts on several sockets in turn; closes them when the service stops.
#[derive(Debug)]
pub(crate) struct Sockets {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    /// The first socket of the next search, so that none can starve the others.
    next: usize,
    stopping: Stopping,
}

impl Sockets {
    pub(crate) fn bind(addresses: &[SocketAddr], stopping: Stopping) -> Result<Self, Error> {
        let listeners = addresses
            .iter()
            .map(|&address| listen(address).map_err(|source| Error::Listen { address, source }))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses = listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect();
        Ok(Self {
            listeners,
            addresses,
            next: 0,
            stopping,
        })
    }

    /// The addresses, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    async fn next(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            let count = self.listeners.len();
            for step in 0..count {
                let index = (self.next + step) % count;
                if let Poll::Ready(accepted) = self.listeners[index].poll_accept(cx) {
                    self.next = index + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Incoming for Sockets {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut stopping = self.stopping.clone();
        let accepted = tokio::select! {
            biased;
            () = stopping.wait() => None,
            accepted = self.next() => Some(accepted),
        };
        match accepted {
            Some(accepted) => {
                let (stream, peer) = accepted?;
                // Without it the second flight of a handshake waits 40 ms for an acknowledgement.
                stream.set_nodelay(true)?;
                Ok((stream, peer))
            }
            None => {
                self.listeners.clear();
                std::future::pending().await
            }
        }
    }
}
