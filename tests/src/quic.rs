//! QUIC for the lab: plain ends of quinn's, and one request on one stream of a connection.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, Join, ReadBuf, join};

use crate::Result;

/// The application protocol of the lab's connections over QUIC.
pub const ALPN: &[u8] = b"lab";

/// A client's endpoint of quinn's, without multipath TLS.
///
/// # Errors
/// Errors of rustls about the configuration, or of the system.
pub fn plain_client(config: ClientConfig) -> Result<Endpoint> {
    plain_client_of(ALPN, config)
}

/// The same, for another application protocol.
///
/// # Errors
/// As [`plain_client`].
pub fn plain_client_of(alpn: &[u8], config: ClientConfig) -> Result<Endpoint> {
    let mut endpoint = client_socket()?;
    endpoint.set_default_client_config(client_config_of(alpn, config)?);
    Ok(endpoint)
}

/// quinn's own configuration of a client.
///
/// # Errors
/// When the provider lacks the cipher suite of QUIC's first packets.
pub fn client_config(config: ClientConfig) -> Result<quinn::ClientConfig, NoInitialCipherSuite> {
    client_config_of(ALPN, config)
}

fn client_config_of(
    alpn: &[u8],
    mut config: ClientConfig,
) -> Result<quinn::ClientConfig, NoInitialCipherSuite> {
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = QuicClientConfig::try_from(config)?;
    Ok(quinn::ClientConfig::new(Arc::new(config)))
}

/// quinn's own configuration of a server.
///
/// # Errors
/// As [`client_config`].
pub fn server_config(
    mut config: ServerConfig,
) -> Result<quinn::ServerConfig, NoInitialCipherSuite> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = QuicServerConfig::try_from(config)?;
    Ok(quinn::ServerConfig::with_crypto(Arc::new(config)))
}

/// An endpoint without a configuration.
///
/// # Errors
/// Errors of the system.
pub fn client_socket() -> io::Result<Endpoint> {
    Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())
}

/// A server's endpoint of quinn's, without multipath TLS.
///
/// # Errors
/// As [`plain_client`].
pub fn plain_server(config: ServerConfig, socket: UdpSocket) -> Result<Endpoint> {
    let config = server_config(config)?;
    let (settings, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    Ok(Endpoint::new(settings, Some(config), socket, runtime)?)
}

/// A stream of a connection that has no other.
#[derive(Debug)]
pub struct QuicStream {
    io: Join<RecvStream, SendStream>,
    connection: Connection,
}

impl QuicStream {
    /// Opens it. The peer learns of it by its first bytes.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn open(connection: Connection) -> io::Result<Self> {
        let (send, receive) = connection.open_bi().await?;
        let io = join(receive, send);
        Ok(Self { io, connection })
    }

    /// Waits until the peer has opened it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn accept(connection: Connection) -> io::Result<Self> {
        let (send, receive) = connection.accept_bi().await?;
        let io = join(receive, send);
        Ok(Self { io, connection })
    }

    /// Waits until the connection is closed, so that the peer receives everything.
    pub async fn closed(self) {
        self.connection.closed().await;
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
