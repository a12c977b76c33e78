//! A small internet for one test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mtls_certs::{KeyAlgorithm, Leaf, Pki};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::Result;
use crate::secrets::HOST;
use crate::server::{Server, Setup};
use crate::victim::Victim;

/// The server's own host number.
const SERVER: u8 = 1;

/// A PKI, and a loopback network of its own: 127.x.y.0/24.
///
/// Its clients trust two authorities: the real one, and a rogue one, as if both were among the
/// hundred that come with a browser.
#[derive(Debug)]
pub struct World {
    /// Both authorities and their certificates for [`HOST`].
    pub pki: Pki,
    subnet: [u8; 2],
}

impl World {
    /// An empty world.
    ///
    /// # Errors
    /// When the system has no randomness or no time.
    pub fn new() -> Result<Self> {
        Self::with_algorithm(KeyAlgorithm::default())
    }

    /// An empty world whose certificates have this algorithm.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_algorithm(algorithm: KeyAlgorithm) -> Result<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [low, high, ..] = std::process::id().to_le_bytes();
        // Other programs use 127.0.0.0/16.
        let second = 1 + (low ^ high.rotate_left(3)) % 254;
        Ok(Self {
            pki: Pki::with_algorithm(&[HOST, "localhost"], algorithm)?,
            subnet: [second, NEXT.fetch_add(1, Ordering::Relaxed)],
        })
    }

    /// The address of host number `host` of this world's network.
    pub fn ip(&self, host: u8) -> IpAddr {
        let [x, y] = self.subnet;
        Ipv4Addr::new(127, x, y, host).into()
    }

    /// The same with the server's port, where an attacker can listen in place of the server: a client's
    /// path leads to one address or the other.
    pub fn host(&self, host: u8, server: &Server) -> SocketAddr {
        SocketAddr::new(self.ip(host), server.address().port())
    }

    /// Starts a server on a port that the system chooses.
    ///
    /// # Errors
    /// When there is no port, or the setup cannot be.
    pub async fn serve(&self, setup: Setup) -> Result<Server> {
        self.serve_at(SocketAddr::new(self.ip(SERVER), 0), setup)
            .await
    }

    /// Starts a server elsewhere.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_at(&self, address: SocketAddr, setup: Setup) -> Result<Server> {
        let tls = match setup.tls {
            Some(ref tls) => tls.clone(),
            None => self.server_config()?,
        };
        Server::start(address, tls, setup).await
    }

    /// A client of `server`, whose paths all lead straight to it.
    ///
    /// # Errors
    /// When the certificates are invalid.
    pub fn victim(&self, server: &Server) -> Result<Victim> {
        self.victim_of(server.address())
    }

    /// A client of the listener at this address.
    ///
    /// # Errors
    /// As [`victim`](Self::victim).
    pub fn victim_of(&self, server: SocketAddr) -> Result<Victim> {
        Ok(Victim::new(self.client_config()?, server))
    }

    /// A client's TLS configuration. It trusts the rogue authority, too.
    ///
    /// # Errors
    /// When the certificates are invalid.
    pub fn client_config(&self) -> Result<ClientConfig> {
        Ok(self.pki.client_config(provider())?)
    }

    /// The TLS configuration of the real server.
    ///
    /// # Errors
    /// As [`client_config`](Self::client_config).
    pub fn server_config(&self) -> Result<ServerConfig> {
        Ok(self.pki.server_config(provider())?)
    }

    /// A server's TLS configuration with a certificate from the rogue authority.
    ///
    /// # Errors
    /// As [`client_config`](Self::client_config).
    pub fn rogue_config(&self) -> Result<ServerConfig> {
        Ok(self.pki.rogue_config(provider())?)
    }

    /// A server's TLS configuration in detail.
    ///
    /// # Errors
    /// As [`client_config`](Self::client_config).
    pub fn server_tls(
        &self,
        leaf: &Leaf,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ServerConfig> {
        Ok(ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(leaf.chain_der(), leaf.key_der())?)
    }

    /// The trusted roots of the client.
    ///
    /// # Errors
    /// As [`client_config`](Self::client_config).
    pub fn roots(&self) -> Result<RootCertStore> {
        Ok(self.pki.roots()?)
    }
}

/// The crypto provider of all participants, attackers included.
pub fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// The same, but it agrees on keys in a group for which clients send no share at first: a server
/// with it asks for another ClientHello (RFC 8446, section 4.1.4).
pub fn retrying_provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1],
        ..provider()
    }
}
