//! A man in the middle of Multipath TCP connections, with a kernel and a listener of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use mtls_core::path::{Endpoint, Path};
use mtls_core::proto::carrier::{CARRIER_GREETING, CHUNK_HEADER};
use mtls_core::{Accepted, ClientSettings, MultipathAcceptor, MultipathConnector, Policy};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::net::TcpStream;

use super::mptcp_listener;
use crate::attacker::{pump, with_client_random};
use crate::secrets::HOST;
use crate::{Captured, Result, Tasks, provider};

/// The length of the bytes of a TLS record before the client's random.
pub(super) const RANDOM_AT: usize = 5 + 4 + 2;

/// A man in the middle: terminates the client's TLS, with the side exchange inside the connection if the
/// client begins one, and relays the plaintext of a verified connection of their own to the server.
#[derive(Debug)]
pub struct MptcpMitm {
    captured: Captured,
    _accepting: Tasks,
}

/// The behaviour of a [`MptcpMitm`].
#[derive(Clone, Debug)]
pub struct MptcpMitmPlan {
    /// Their credential.
    pub identity: ServerConfig,
    /// The certificates that they accept from the server.
    pub roots: RootCertStore,
    /// The server, which they connect to over TCP.
    pub server: SocketAddr,
    /// They send the client's random to the server.
    pub copies_random: bool,
}

impl MptcpMitm {
    /// Listens at `address` for Multipath TCP, and for TCP, in the namespace of this thread.
    ///
    /// # Errors
    /// When the address is taken, or the configuration is invalid.
    pub fn start(address: SocketAddr, plan: MptcpMitmPlan) -> Result<Self> {
        let identity = Arc::new(plan.identity.clone());
        let acceptor = MultipathAcceptor::builder(identity, Policy::Observe).build()?;
        let captured = Captured::default();
        let attack = Interception {
            acceptor,
            plan: Arc::new(plan),
            captured: captured.clone(),
        };
        let listener = mptcp_listener(address)?;
        let (accepting, connections) = (Tasks::default(), Tasks::default());
        accepting.spawn(async move {
            loop {
                if let Ok((tcp, peer)) = listener.accept().await {
                    let attack = attack.clone();
                    // The captured data show how far it came.
                    connections.spawn(async move {
                        let _ = attack.run(tcp, peer).await;
                    });
                }
            }
        });
        Ok(Self {
            captured,
            _accepting: accepting,
        })
    }

    /// The data that they captured.
    #[must_use]
    pub fn captured(&self) -> &Captured {
        &self.captured
    }
}

#[derive(Clone)]
struct Interception {
    acceptor: MultipathAcceptor,
    plan: Arc<MptcpMitmPlan>,
    captured: Captured,
}

impl Interception {
    async fn run(self, tcp: TcpStream, peer: SocketAddr) -> Result {
        tcp.set_nodelay(true)?;
        let random = peek_random(&tcp).await?;
        self.captured.count_connection(false);
        let relayed = self.relay(tcp, peer, random).await;
        self.captured.count_end();
        relayed
    }

    async fn relay(&self, tcp: TcpStream, peer: SocketAddr, random: [u8; 32]) -> Result {
        let server = self.connect(random).await;
        let Accepted::Stream(client) = self.acceptor.accept(tcp, peer).await? else {
            return Err("a side connection on the primary path".into());
        };
        self.captured.count_handshake(false);
        let (from_client, to_client) = split(client);
        let (from_server, to_server) = split(server?);
        let there = pump(from_client, to_server, |bytes| {
            self.captured.record_from_victim(bytes);
        });
        let back = pump(from_server, to_client, |bytes| {
            self.captured.record_from_server(bytes);
        });
        tokio::join!(there, back);
        Ok(())
    }

    /// Connects to the real server as a client that verifies.
    async fn connect(
        &self,
        random: [u8; 32],
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        let plan = &self.plan;
        let crypto = match plan.copies_random {
            true => with_client_random(random),
            false => provider(),
        };
        let tcp = TcpStream::connect(plan.server).await?;
        tcp.set_nodelay(true)?;
        let settings = ClientSettings::new(Policy::Require).side(Path::system());
        let config = Arc::new(client_config(crypto, plan.roots.clone())?);
        let connector = MultipathConnector::builder(config, settings).build()?;
        let name = ServerName::try_from(HOST)?;
        let side = Endpoint::from(plan.server);
        Ok(connector.connect_stream(name, tcp, &side).await?)
    }
}

pub(super) fn client_config(crypto: CryptoProvider, roots: RootCertStore) -> Result<ClientConfig> {
    Ok(ClientConfig::builder_with_provider(Arc::new(crypto))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The client's random, which is left to be read.
async fn peek_random(tcp: &TcpStream) -> Result<[u8; 32]> {
    let mut bytes = [0; CARRIER_GREETING.len() + CHUNK_HEADER + RANDOM_AT + 32];
    for _ in 0..1_000 {
        let len = tcp.peek(&mut bytes).await?;
        let inside = bytes[..len].starts_with(&CARRIER_GREETING);
        let at = RANDOM_AT + usize::from(inside) * (CARRIER_GREETING.len() + CHUNK_HEADER);
        if let Some(random) = bytes[..len].get(at..at + 32) {
            return Ok(random.try_into()?);
        }
        if len == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    Err("no ClientHello came".into())
}
