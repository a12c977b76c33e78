//! The man in the middle on the primary path.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::Endpoint;
use mtls_core::{
    Accepted, ClientSettings, MultipathAcceptor, MultipathConnector, Policy, SideServiceSettings,
};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::ProducesTickets;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::datagrams::DatagramRelay;
use super::hello::{Overheard, overhear};
use super::random::with_client_random;
use super::rewound::Rewound;
use crate::secrets::HOST;
use crate::server::page;
use crate::tasks::Listening;
use crate::world::{provider, retrying_provider};
use crate::{Captured, Result, Server, World, raw_keys};

/// How long it waits for a verification of its own: an attacker does not fail because the machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

static TLS12_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// The behaviour of a [`Mitm`]. Start with [`rogue_ca`](Self::rogue_ca) or
/// [`stolen_key`](Self::stolen_key).
#[derive(Clone, Debug)]
pub struct MitmPlan {
    pub(super) identity: Arc<ServerConfig>,
    trusts: Trusts,
    pub(super) server: SocketAddr,
    copies_random: bool,
    versions: &'static [&'static SupportedProtocolVersion],
    pub(super) early_connection: EarlyConnection,
    hello_delay: Duration,
    retry_stall: Duration,
    page: Option<String>,
    side_acceptor: Option<MultipathAcceptor>,
}

/// The certificates or keys that it accepts from the real server.
#[derive(Clone, Debug)]
enum Trusts {
    Roots(RootCertStore),
    AnyRawKey,
}

/// The connection of a [`Mitm`] to the real server before it answers its victim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyConnection {
    /// None: it connects when its victim has connected.
    #[default]
    None,
    /// It completes a handshake.
    Connects,
    /// It completes a handshake and confirms it on a side connection of its own.
    Confirms,
    /// It completes a handshake and closes.
    Closes,
}

impl EarlyConnection {
    /// Whether it confirms the connection that it makes early, if it does.
    pub(super) fn confirms(self) -> Option<bool> {
        match self {
            Self::None => None,
            Self::Confirms => Some(true),
            Self::Connects | Self::Closes => Some(false),
        }
    }

    /// Whether it relays its victim's connection over that one.
    pub(super) fn keeps(self) -> bool {
        self != Self::Closes
    }
}

impl MitmPlan {
    /// With a certificate from the rogue authority.
    ///
    /// # Errors
    /// When the certificates are invalid.
    pub fn rogue_ca(world: &World, server: &Server) -> Result<Self> {
        Self::new(world, server.address(), world.rogue_config()?)
    }

    /// With the server's own certificate and key.
    ///
    /// # Errors
    /// As [`rogue_ca`](Self::rogue_ca).
    pub fn stolen_key(world: &World, server: &Server) -> Result<Self> {
        Self::new(world, server.address(), world.server_config()?)
    }

    /// With a raw public key of its own, where there are no certificates.
    ///
    /// # Errors
    /// As [`rogue_ca`](Self::rogue_ca).
    pub fn raw_key(world: &World, server: &Server) -> Result<Self> {
        let identity = raw_keys::server_config(&world.pki.rogue)?;
        Ok(Self::new(world, server.address(), identity)?.takes_any_raw_key())
    }

    /// Takes any raw public key for the real server's.
    #[must_use]
    pub fn takes_any_raw_key(mut self) -> Self {
        self.trusts = Trusts::AnyRawKey;
        self
    }

    /// With any TLS configuration, in front of a server at this address.
    ///
    /// # Errors
    /// As [`rogue_ca`](Self::rogue_ca).
    pub fn new(world: &World, server: SocketAddr, identity: ServerConfig) -> Result<Self> {
        Ok(Self {
            identity: Arc::new(identity),
            trusts: Trusts::Roots(world.roots()?),
            server,
            copies_random: false,
            versions: rustls::DEFAULT_VERSIONS,
            early_connection: EarlyConnection::None,
            hello_delay: Duration::ZERO,
            retry_stall: Duration::ZERO,
            page: None,
            side_acceptor: None,
        })
    }

    /// Issues and opens session tickets under this key.
    #[must_use]
    pub fn ticket_key(mut self, key: &Arc<dyn ProducesTickets>) -> Self {
        Arc::make_mut(&mut self.identity).ticketer = Arc::clone(key);
        self
    }

    /// Limits the victim's connection to TLS 1.2.
    ///
    /// # Errors
    /// As [`rogue_ca`](Self::rogue_ca).
    pub fn downgrades_victim(mut self, world: &World) -> Result<Self> {
        let identity = world.server_tls(&world.pki.rogue, provider(), TLS12_ONLY)?;
        self.identity = Arc::new(identity);
        Ok(self)
    }

    /// Limits the connection to the real server to TLS 1.2.
    #[must_use]
    pub fn downgrades_server(mut self) -> Self {
        self.versions = TLS12_ONLY;
        self
    }

    /// Sends the victim's random to the real server.
    #[must_use]
    pub fn copies_random(mut self) -> Self {
        self.copies_random = true;
        self
    }

    /// Connects to the real server first.
    #[must_use]
    pub fn early_connection(mut self, early_connection: EarlyConnection) -> Self {
        self.early_connection = early_connection;
        self
    }

    /// Delays the ServerHello to the victim.
    #[must_use]
    pub fn delays_hello(mut self, delay: Duration) -> Self {
        self.hello_delay = delay;
        self
    }

    /// Sends a HelloRetryRequest to the victim, and delays the response to its second ClientHello.
    ///
    /// # Errors
    /// As [`rogue_ca`](Self::rogue_ca).
    pub fn stalls_after_retry(mut self, world: &World, stall: Duration) -> Result<Self> {
        let versions = [&rustls::version::TLS13];
        let identity = world.server_tls(&world.pki.rogue, retrying_provider(), &versions)?;
        self.identity = Arc::new(identity);
        self.retry_stall = stall;
        Ok(self)
    }

    /// Sends the victim this page instead of the server's.
    #[must_use]
    pub fn forges(mut self, page: &str) -> Self {
        self.page = Some(page.to_owned());
        self
    }

    /// Shares all secrets with the attackers on the side paths: those whose
    /// [`SideAttack`](super::SideAttack) has the acceptor that [`side_acceptor`](Self::side_acceptor)
    /// gives out.
    ///
    /// # Errors
    /// As [`rogue_ca`](Self::rogue_ca).
    pub fn shares_secrets(mut self) -> Result<Self> {
        let identity = Arc::clone(&self.identity);
        let settings = SideServiceSettings::new(Policy::Observe).deadline(PATIENCE);
        let acceptor = MultipathAcceptor::builder(identity, settings).build()?;
        self.side_acceptor = Some(acceptor);
        Ok(self)
    }

    /// The TLS configuration toward the real server, for a victim with this random.
    pub(super) fn client_config(&self, random: [u8; 32]) -> Result<ClientConfig> {
        let crypto = match self.copies_random {
            true => with_client_random(random),
            false => provider(),
        };
        let roots = match &self.trusts {
            Trusts::Roots(roots) => roots.clone(),
            Trusts::AnyRawKey => return Ok(raw_keys::client_config(crypto)?),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto))
            .with_protocol_versions(self.versions)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// The acceptor that answers verifications of its handshakes, if it shares its secrets.
    pub fn side_acceptor(&self) -> Option<MultipathAcceptor> {
        self.side_acceptor.clone()
    }
}

/// A man in the middle: accepts TCP or QUIC, terminates the victim's TLS, connects to the real server,
/// and relays the plaintext both ways, or answers itself.
#[derive(Debug)]
pub struct Mitm {
    captured: Captured,
    front: Front,
}

/// The socket at which its victims arrive.
#[derive(Debug)]
pub(super) enum Front {
    Tcp(Listening),
    Quic(DatagramRelay),
}

impl Mitm {
    /// Listens at `address`.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn start(address: SocketAddr, plan: MitmPlan) -> Result<Self> {
        let captured = Captured::default();
        let attack = Attack {
            plan: Arc::new(plan),
            captured: captured.clone(),
        };
        let listening = Listening::start(address, move |tcp, peer| {
            let attack = attack.clone();
            async move {
                // The captured data show how far it came.
                let _ = attack.run(tcp, peer).await;
            }
        })
        .await?;
        Ok(Self::at(Front::Tcp(listening), captured))
    }

    /// Attacks the victims that arrive at `front`.
    pub(super) fn at(front: Front, captured: Captured) -> Self {
        Self { captured, front }
    }

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        match &self.front {
            Front::Tcp(listening) => listening.address,
            Front::Quic(relay) => relay.address(),
        }
    }

    /// The data that it captured.
    pub fn captured(&self) -> &Captured {
        &self.captured
    }
}

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) type Stream = Box<dyn Io>;

#[derive(Clone)]
pub(super) struct Attack {
    pub(super) plan: Arc<MitmPlan>,
    pub(super) captured: Captured,
}

impl Attack {
    async fn run(self, mut tcp: TcpStream, peer: SocketAddr) -> Result {
        let overheard = overhear(&mut tcp).await?;
        self.captured.count_connection(overheard.offers_ticket);
        let result = self.attack(tcp, peer, overheard).await;
        self.captured.count_end();
        result
    }

    async fn attack(&self, tcp: TcpStream, peer: SocketAddr, overheard: Overheard) -> Result {
        let random = overheard.random;
        let early = self.connect_early(random).await;
        sleep(self.plan.hello_delay).await;
        let victim = self.accept_victim(overheard, tcp, peer).await?;
        let server = match early {
            Some(server) => Some(server),
            None => self.connect_to_server(random, false).await.ok(),
        };
        self.serve(victim, server).await
    }

    /// `None` where it has no connection, or none left.
    async fn connect_early(&self, random: [u8; 32]) -> Option<Stream> {
        let confirms = self.plan.early_connection.confirms()?;
        let connected = self.connect_to_server(random, confirms).await.ok()?;
        self.plan.early_connection.keeps().then_some(connected)
    }

    /// Terminates the victim's TLS.
    async fn accept_victim(
        &self,
        overheard: Overheard,
        tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<Stream> {
        let plan = &self.plan;
        let stream = Rewound::new(overheard.bytes, plan.retry_stall, tcp);
        if let Some(acceptor) = &plan.side_acceptor {
            let Accepted::Stream(stream) = acceptor.accept(stream, peer).await? else {
                return Err("a side connection on the primary path".into());
            };
            self.count(stream.get_ref().get_ref().1.handshake_kind());
            return Ok(Box::new(stream));
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&plan.identity));
        let stream = acceptor.accept(stream).await?;
        self.count(stream.get_ref().1.handshake_kind());
        Ok(Box::new(stream))
    }

    fn count(&self, kind: Option<HandshakeKind>) {
        self.captured
            .count_handshake(kind == Some(HandshakeKind::Resumed));
    }

    /// Connects to the real server, with plain TLS or with a verification.
    async fn connect_to_server(&self, random: [u8; 32], confirms: bool) -> Result<Stream> {
        let config = self.plan.client_config(random)?;
        let (config, name) = (Arc::new(config), ServerName::try_from(HOST)?);
        let tcp = TcpStream::connect(self.plan.server).await?;
        tcp.set_nodelay(true)?;
        if !confirms {
            let stream = TlsConnector::from(config).connect(name, tcp).await?;
            return Ok(Box::new(stream));
        }
        let side = Endpoint::from(self.plan.server);
        let connector = verifying(config)?;
        Ok(Box::new(connector.connect_stream(name, tcp, &side).await?))
    }

    /// The connection of a victim that took it for the server.
    pub(super) async fn serve(&self, victim: Stream, server: Option<Stream>) -> Result {
        match (&self.plan.page, server) {
            (None, Some(server)) => self.relay(victim, server).await,
            (forged, server) => {
                let forged = forged.as_deref().unwrap_or("the attacker has no page");
                self.forge(victim, server, forged).await?;
            }
        }
        Ok(())
    }

    /// Relays and records the plaintext in both directions until the victim closes.
    async fn relay(&self, victim: Stream, server: Stream) {
        let (from_victim, to_victim) = split(victim);
        let (from_server, to_server) = split(server);
        let there = pump(from_victim, to_server, |bytes| {
            self.captured.record_from_victim(bytes);
        });
        let back = async {
            pump(from_server, to_victim, |bytes| {
                self.captured.record_from_server(bytes);
            })
            .await;
            std::future::pending().await
        };
        tokio::select! {
            () = there => {}
            () = back => {}
        }
    }

    /// Forwards the victim's request to the server, keeps the response, and sends the victim
    /// another one.
    async fn forge(
        &self,
        mut victim: Stream,
        server: Option<Stream>,
        forged: &str,
    ) -> io::Result<()> {
        let mut request = Vec::new();
        let mut buffer = [0; 2048];
        while !request.ends_with(b"\r\n\r\n") {
            let read = victim.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            self.captured.record_from_victim(&buffer[..read]);
            request.extend_from_slice(&buffer[..read]);
        }
        if let Some(mut server) = server {
            let mut answer = Vec::new();
            server.write_all(&request).await?;
            // A server that does not close as TLS wants it has answered all the same.
            let _ = server.read_to_end(&mut answer).await;
            self.captured.record_from_server(&answer);
        }
        victim.write_all(&page(forged)).await?;
        victim.shutdown().await
    }
}

/// The connector of a man in the middle who lets the real server verify their connection.
pub(super) fn verifying(config: Arc<ClientConfig>) -> Result<MultipathConnector> {
    let settings = ClientSettings::new(Policy::Require)
        .side(mtls_core::path::Path::system())
        .deadline(PATIENCE);
    Ok(MultipathConnector::builder(config, settings).build()?)
}

/// Moves bytes until `from` ends, even if `to` takes no more: what is read counts.
pub(crate) async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut take: impl FnMut(&[u8]),
) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        take(&buffer[..read]);
        let _ = to.write_all(&buffer[..read]).await;
        let _ = to.flush().await;
    }
    let _ = to.shutdown().await;
}
