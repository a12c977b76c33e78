//! QUIC over the simulated network: quinn on a socket of it, with its clock.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, UdpPoller};
use tokio::sync::mpsc;
use turmoil::net::UdpSocket;

/// The largest datagram that quinn sends is smaller.
const MAX_DATAGRAM: usize = 2048;

type Received = (Vec<u8>, SocketAddr);

/// A UDP socket of the simulated network.
struct SimSocket {
    socket: Arc<UdpSocket>,
    received: Mutex<mpsc::UnboundedReceiver<Received>>,
}

/// An endpoint on the host that this is called on. quinn takes the time from tokio, which turmoil
/// controls.
///
/// # Errors
/// When the port is taken.
pub(super) async fn endpoint(port: u16, server: Option<ServerConfig>) -> io::Result<Endpoint> {
    let socket = Arc::new(UdpSocket::bind(("0.0.0.0", port)).await?);
    let (sender, received) = mpsc::unbounded_channel();
    let from = Arc::clone(&socket);
    // turmoil's socket has no function to poll.
    tokio::spawn(async move {
        let mut buffer = [0; MAX_DATAGRAM];
        while let Ok((length, peer)) = from.recv_from(&mut buffer).await {
            if sender.send((buffer[..length].to_vec(), peer)).is_err() {
                return;
            }
        }
    });
    let socket = Arc::new(SimSocket {
        socket,
        received: Mutex::new(received),
    });
    let (settings, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    Endpoint::new_with_abstract_socket(settings, server, socket, runtime)
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self
            .socket
            .try_send_to(transmit.contents, transmit.destination);
        sent.map(drop)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((datagram, addr)) = ready!(received.poll_recv(cx)) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let (Some(buffer), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        *meta = RecvMeta {
            addr,
            len,
            stride: len,
            ecn: None,
            dst_ip: None,
        };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// The simulated network takes every datagram.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
