//! QUIC connections with quinn, verified over side paths (`docs/protocol.md`, section 14).
//!
//! TLS 1.3 makes the handshake of QUIC too, so everything is as for TCP: the same handshake names, values,
//! side connections, policies and verdicts. The side connections are TCP, to the same host and port
//! unless the settings name another, so they differ from the primary path in their protocol too.
//!
//! A [`QuicConnector`] is made from a [`MultipathConnector`](crate::MultipathConnector), and a
//! [`QuicAcceptor`] from a [`MultipathAcceptor`](crate::MultipathAcceptor): both transports share the
//! settings, the side connections, and at a server the registry and the certificates.
//!
//! ```
//! use std::sync::Arc;
//!
//! use mtls_certs::Pki;
//! use mtls_core::path::{Endpoint, Path};
//! use mtls_core::quic::{QuicAcceptor, QuicConnector, QuicListener, QuicListenerLimits};
//! use mtls_core::{
//!     ClientSettings, ListenerLimits, MultipathAcceptor, MultipathConnector, MultipathListener,
//!     Policy,
//! };
//! use tokio::net::TcpListener;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pki = Pki::new(&["127.0.0.1"])?;
//! let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
//! let server_config = Arc::new(pki.server_config(Arc::clone(&provider))?);
//! let client_config = Arc::new(pki.client_config(provider)?);
//!
//! // A server: TLS and side connections on a TCP port, QUIC on the UDP port of the same number.
//! let tcp = TcpListener::bind("127.0.0.1:0").await?;
//! let address = tcp.local_addr()?;
//! let acceptor = MultipathAcceptor::builder(server_config, Policy::Require).build()?;
//! let quic = QuicAcceptor::builder(&acceptor).alpn(&[b"hq"]).build()?;
//! let endpoint = quic.endpoint(std::net::UdpSocket::bind(address)?)?;
//! let _sides = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
//! let mut listener = QuicListener::new(quic, endpoint, QuicListenerLimits::default());
//! tokio::spawn(async move {
//!     let (connection, _peer) = listener.accept().await;
//!     let connection = connection.into_inner();
//!     let mut stream = connection.open_uni().await?;
//!     stream.write_all(b"hello").await?;
//!     stream.finish()?;
//!     connection.closed().await;
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
//! });
//!
//! // A client. It gets quinn's own connection, with a verdict.
//! let settings = ClientSettings::new(Policy::Require).side(Path::source("127.0.0.2".parse()?)?);
//! let connector = MultipathConnector::builder(client_config, settings).build()?;
//! let quic = QuicConnector::builder(&connector).alpn(&[b"hq"]).build()?;
//! let connection = quic.connect(&Endpoint::from(address)).await?;
//! assert_eq!(connection.verdict().outcome.as_str(), "verified");
//! let mut stream = connection.into_inner().accept_uni().await?;
//! assert_eq!(stream.read_to_end(100).await?, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # What is not as in plain quinn
//!
//! - 0-RTT is off at both ends, and no connection is given out before its handshake is complete and its
//!   verdict allows that. So no application data travels before.
//! - Session tickets, and tokens of address validation, enter the stores only from verified connections.
//! - The verdict is about the paths of the handshake. QUIC can move a connection to another path
//!   afterwards. That changes no keys, so the connection remains verified. Its *independence* is
//!   that of the paths of the handshake.
//! - The connection itself is quinn's: verification costs nothing for each byte.

mod acceptor;
mod connection;
mod connector;
mod endpoints;
mod error;
mod first_data;
mod follow;
mod gate;
mod listener;
mod tokens;

pub use acceptor::{QuicAcceptor, QuicAcceptorBuilder};
pub use connection::QuicConnection;
pub use connector::{QuicConnector, QuicConnectorBuilder};
pub use listener::{QuicListener, QuicListenerLimits};

/// The application error code with which a connection is closed that its policy refuses: "MTLS".
pub const REFUSED: u32 = 0x4d54_4c53;
