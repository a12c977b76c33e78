//! The UDP sockets of a server, for HTTP/3.

use std::future::{Future, poll_fn};
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use mtls_core::quic::{QuicAcceptor, QuicConnection, QuicListener, QuicListenerLimits};
use mtls_core::{ListenerLimits, MultipathAcceptor, ServerStream};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::Error;

/// The application protocol of HTTP/3 (RFC 9114, section 3.1).
const HTTP_3: &[u8] = b"h3";
/// Concurrent requests of one connection, as over HTTP/2.
const STREAMS: u32 = 128;
/// A control stream, two for QPACK, and some that are ignored.
const UNIDIRECTIONAL_STREAMS: u32 = 16;
/// Bytes of request bodies that wait for one stream, and for one connection.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Bytes of responses that wait for acknowledgements, on one connection.
const SEND_WINDOW: u64 = 4 * 1024 * 1024;
/// The time without a packet after which a client counts as gone; it is asked for one before.
const SILENCE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// The time for the last packets of closed connections.
const CLOSING: Duration = Duration::from_millis(500);

/// A connection with encryption.
#[derive(Debug)]
#[non_exhaustive]
pub enum Channel {
    /// TLS over TCP.
    Tls(Box<ServerStream<TcpStream>>),
    /// QUIC, for HTTP/3. Its verdict may be undecided.
    Quic {
        /// The connection.
        connection: QuicConnection,
        /// The server's address.
        local: Option<SocketAddr>,
    },
}

/// Bound UDP sockets; none without HTTP/3.
#[derive(Debug, Default)]
pub(super) struct QuicSockets {
    endpoints: Vec<quinn::Endpoint>,
    addresses: Vec<SocketAddr>,
    acceptor: Option<QuicAcceptor>,
}

impl QuicSockets {
    /// Binds the UDP ports of these addresses of TCP.
    pub(super) fn bind(acceptor: &MultipathAcceptor, tcp: &[SocketAddr]) -> Result<Self, Error> {
        let acceptor = QuicAcceptor::builder(acceptor)
            .alpn(&[HTTP_3])
            .transport(transport())
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
            .build()?;
        let mut sockets = Self::default();
        for &address in tcp {
            let bound = bind(address).and_then(|socket| acceptor.endpoint(socket));
            let endpoint = bound.map_err(|source| Error::ListenUdp { address, source })?;
            sockets.endpoints.push(endpoint);
            sockets.addresses.push(address);
        }
        sockets.acceptor = Some(acceptor);
        Ok(sockets)
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Accepts connections within these limits of handshakes.
    pub(super) fn listen(self, limits: ListenerLimits) -> QuicListeners {
        let Some(acceptor) = self.acceptor else {
            return QuicListeners::default();
        };
        let mut quic = QuicListenerLimits::default();
        quic.without_retry = quic.without_retry.min(limits.handshakes);
        quic.handshakes = limits.handshakes;
        let listen = |endpoint| QuicListener::new(acceptor.clone(), endpoint, quic);
        QuicListeners {
            listeners: self.endpoints.into_iter().map(listen).collect(),
            addresses: self.addresses,
        }
    }
}

/// quinn's settings of a server's connections.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .max_idle_timeout(IdleTimeout::try_from(SILENCE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        // DATAGRAM frames have no use here.
        .datagram_receive_buffer_size(None);
    transport
}

/// An IPv6 socket takes no IPv4 packets, as those of TCP.
fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket.into())
}

/// The listeners of a running server.
#[derive(Debug, Default)]
pub(super) struct QuicListeners {
    listeners: Vec<QuicListener>,
    addresses: Vec<SocketAddr>,
}

impl QuicListeners {
    /// The next connection, and its peer. Cancel safe.
    pub(super) async fn accept(&mut self) -> (Channel, SocketAddr) {
        poll_fn(|cx| {
            for (listener, address) in self.listeners.iter_mut().zip(&self.addresses) {
                if let Poll::Ready((connection, peer)) = pin!(listener.accept()).poll(cx) {
                    let ip = connection.get_ref().local_ip();
                    let local = ip.map(|ip| SocketAddr::new(ip.to_canonical(), address.port()));
                    return Poll::Ready((Channel::Quic { connection, local }, peer));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The number of handshakes under way.
    pub(super) fn handshakes(&self) -> usize {
        self.listeners.iter().map(QuicListener::handshakes).sum()
    }

    /// Refuses new connections.
    pub(super) fn stop(&self) {
        for listener in &self.listeners {
            listener.stop();
        }
    }

    /// Lets the last packets leave.
    pub(super) async fn close(&self) {
        for listener in &self.listeners {
            listener.endpoint().close(VarInt::from_u32(0), b"");
            let _ = timeout(CLOSING, listener.endpoint().wait_idle()).await;
        }
    }
}
