//! An attacker who injects a packet that no handshake protects.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::ServerConfig;
use quinn::crypto::rustls::QuicServerConfig;

use super::super::datagrams::{DatagramRelay, Flow};
use super::initial::{retry, version_negotiation};
use crate::{Result, World};

/// The packet that an [`Injector`] injects before the server's first one.
#[derive(Clone)]
pub enum Injection {
    /// A Version Negotiation packet, with a version that the client does not know.
    VersionNegotiation,
    /// A Retry packet, with a token and a connection ID of the attacker's.
    Retry(Arc<dyn ServerConfig>),
}

impl Injection {
    /// A Retry packet.
    ///
    /// # Errors
    /// Errors of rustls about the configuration.
    pub fn retry(world: &World) -> Result<Self> {
        let keys = QuicServerConfig::try_from(world.rogue_config()?)?;
        Ok(Self::Retry(Arc::new(keys)))
    }

    fn packet(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::VersionNegotiation => version_negotiation(datagram),
            Self::Retry(keys) => retry(&**keys, datagram),
        }
    }
}

impl std::fmt::Debug for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::VersionNegotiation => "VersionNegotiation",
            Self::Retry(_) => "Retry",
        })
    }
}

/// Answers the first datagram of each client with a packet of its own, and passes all others.
#[derive(Debug)]
pub struct Injector(DatagramRelay);

impl Injector {
    /// Listens at `address`, in front of the server at `server`.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn start(
        address: SocketAddr,
        server: SocketAddr,
        injection: Injection,
    ) -> Result<Self> {
        let relay = DatagramRelay::start(address, move |flow| {
            let injection = injection.clone();
            async move {
                let _ = inject(flow, server, &injection).await;
            }
        });
        Ok(Self(relay.await?))
    }

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// How many clients it has sent its packet.
    pub fn clients(&self) -> usize {
        self.0.clients()
    }
}

async fn inject(mut flow: Flow, server: SocketAddr, injection: &Injection) -> Result {
    let first = flow.next().await.ok_or("no datagram")?;
    let packet = injection.packet(&first).ok_or("no Initial packet")?;
    flow.reply(&packet).await?;
    flow.relay(vec![first], server, |_, _| {}).await?;
    Ok(())
}
