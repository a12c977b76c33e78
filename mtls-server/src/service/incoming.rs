//! Several listening sockets as one, until the service stops.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use mtls_core::Incoming;
use tokio::net::{TcpListener, TcpStream};

use super::listen::{BACKLOG, Transport};
use super::proxied::{Network, ProxyHeaders};
use super::transports::AcceptedConnections;
use super::{Stopping, listen};
use crate::error::Error;

/// Accepts on several sockets in turn; closes them when the service stops.
#[derive(Debug)]
pub(crate) struct Sockets {
    listening: Listening,
    addresses: Vec<SocketAddr>,
    headers: ProxyHeaders,
    closed: Closed,
    accepted: AcceptedConnections,
}

/// Whether sockets are closed, and all connections on them have been accepted. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed(Arc<AtomicBool>);

#[derive(Debug)]
struct Listening {
    /// Empty once they are closed.
    listeners: Vec<TcpListener>,
    /// Another process has opened them, and a later one accepts what waits on them.
    are_inherited: bool,
    /// Connections that were waiting when the service stopped.
    waiting: VecDeque<(StdStream, SocketAddr)>,
    /// The first socket of the next search, so that none can starve the others.
    next: usize,
    stopping: Stopping,
}

impl Closed {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Sockets {
    /// Takes the inherited sockets if there are any, and binds the addresses otherwise.
    pub(crate) fn open(
        addresses: &[SocketAddr],
        inherited: &[Arc<StdListener>],
        transport: Transport,
        stopping: Stopping,
    ) -> Result<Self, Error> {
        let are_inherited = !inherited.is_empty();
        let listeners: Vec<_> = if are_inherited {
            let opened = inherited.iter();
            let opened = opened.map(|socket| TcpListener::from_std(socket.try_clone()?));
            opened.collect::<io::Result<_>>().map_err(Error::Runtime)?
        } else {
            let bind = |&address| {
                listen(address, transport).map_err(|source| Error::Listen { address, source })
            };
            addresses.iter().map(bind).collect::<Result<_, _>>()?
        };
        let local = listeners.iter().map(TcpListener::local_addr);
        let addresses = local.collect::<io::Result<_>>().map_err(Error::Runtime)?;
        Ok(Self {
            listening: Listening {
                listeners,
                are_inherited,
                waiting: VecDeque::new(),
                next: 0,
                stopping,
            },
            addresses,
            headers: ProxyHeaders::new(&[]),
            closed: Closed::default(),
            accepted: AcceptedConnections::default(),
        })
    }

    /// Expects a PROXY protocol header on every connection from these networks.
    pub(crate) fn accept_proxy(mut self, from: &[Network]) -> Self {
        self.headers = ProxyHeaders::new(from);
        self
    }

    pub(crate) fn closed(&self) -> Closed {
        self.closed.clone()
    }

    pub(crate) fn accepted(&self) -> AcceptedConnections {
        self.accepted.clone()
    }

    /// The addresses, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Listening {
    /// The next connection; `None` after the last one. Cancel safe.
    async fn next(&mut self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            () = stopping.wait() => self.close(),
            accepted = self.accept() => return Some(accepted),
        }
        let (stream, peer) = self.waiting.pop_front()?;
        let set = stream.set_nonblocking(true);
        let stream = set.and_then(|()| TcpStream::from_std(stream));
        Some(stream.map(|stream| (stream, peer)))
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
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

    /// Closes the sockets. Accepts before what waits on them, at most one backlog each: the system
    /// would reset these connections. A later process accepts those of inherited sockets.
    fn close(&mut self) {
        for listener in self.listeners.drain(..) {
            let Ok(listener) = listener.into_std() else {
                continue;
            };
            if !self.are_inherited {
                let accepted = std::iter::from_fn(|| listener.accept().ok());
                self.waiting.extend(accepted.take(BACKLOG as usize));
            }
        }
    }
}

impl Incoming for Sockets {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut is_done = false;
        loop {
            let accepted = tokio::select! {
                biased;
                Some(read) = self.headers.next() => match read {
                    Some(named) => return Ok(named),
                    None => continue,
                },
                accepted = self.listening.next(), if !is_done => accepted,
                else => {
                    self.closed.0.store(true, Ordering::Release);
                    return pending().await;
                }
            };
            let Some(accepted) = accepted else {
                is_done = true;
                continue;
            };
            let (stream, peer) = accepted?;
            // Without it the second flight of a handshake waits 40 ms for an acknowledgement.
            stream.set_nodelay(true)?;
            self.accepted.count(&stream);
            // A socket for both protocols names IPv4 clients by mapped addresses.
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            match self.headers.expects(peer) {
                true => self.headers.read(stream, peer),
                false => return Ok((stream, peer)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Stop;

    const HERE: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[tokio::test]
    async fn connections_that_wait_when_the_service_stops_are_accepted() {
        let (stop, stopping) = Stop::new();
        let mut sockets = Sockets::open(&[HERE], &[], Transport::Tcp, stopping).expect("a socket");
        let address = sockets.addresses()[0];
        let _waiting = [StdStream::connect(address), StdStream::connect(address)];
        stop.now();
        for _ in 0..2 {
            sockets.accept().await.expect("a connection");
        }
        assert!(StdStream::connect(address).is_err(), "closed");
    }

    #[tokio::test]
    async fn connections_that_wait_on_an_inherited_socket_are_left_to_the_next_process() {
        let shared = Arc::new(StdListener::bind(HERE).expect("a socket"));
        shared.set_nonblocking(true).expect("an option");
        let (stop, stopping) = Stop::new();
        let inherited = [Arc::clone(&shared)];
        let mut sockets =
            Sockets::open(&[], &inherited, Transport::Tcp, stopping).expect("a socket");
        let client = StdStream::connect(sockets.addresses()[0]).expect("to connect");
        stop.now();
        let accepted = tokio::time::timeout(std::time::Duration::ZERO, sockets.accept()).await;
        assert!(accepted.is_err(), "accepted after the stop");
        let (_, peer) = shared.accept().expect("the next process");
        assert_eq!(peer, client.local_addr().expect("an address"));
    }
}
