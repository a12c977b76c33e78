//! The two honest ends of a cell: a server, and a client that fetches its page.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::Endpoint;
use mtls_core::proto::binding::{Binding, Bindings};
use mtls_core::relay::{RelayListener, ServerRelay};
use mtls_core::{Error, ListenerLimits, Method, Policy, SideServiceSettings};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::cell::{Protocol, Trust};
use crate::attacker::MitmPlan;
use crate::secrets::PAGE_SECRET;
use crate::{Result, Server, Setup, Victim, World, fetch, provider, raw_keys, tls};

/// How long a verification may take on a machine under load.
const PATIENCE: Duration = Duration::from_secs(10);
/// The host number of the relay in front of the server.
const RELAY: u8 = 2;

/// A server with a secret page, and the relay in front of it.
pub(super) struct Site {
    world: World,
    protocol: Protocol,
    trust: Trust,
    front: SocketAddr,
    /// The ticket key that attackers who are apart agreed on in advance.
    agreed_ticket_key: Arc<dyn ProducesTickets>,
    _server: Server,
    _relay: Option<RelayListener>,
}

/// The result of a fetch, with the client's message.
pub(super) enum FetchOutcome {
    /// The client sent its request and read the page.
    Used(String),
    /// It refused to, for a reason that means an attacker or may mean one.
    Refused(String),
    /// It failed before that.
    Failed(String),
}

impl Site {
    /// Opens it; clients and servers of multipath TLS demand verification.
    pub(super) async fn open(protocol: Protocol, trust: Trust) -> Result<Self> {
        let world = World::new()?;
        let raw = || raw_keys::server_config(&world.pki.server);
        let multipath = |bindings: Bindings| {
            Setup::new(Policy::Require).tune(move |settings| settings.bindings(bindings))
        };
        let setup = match protocol {
            Protocol::Unauthenticated => Setup::plain().tls(raw()?),
            Protocol::Tls | Protocol::Relays | Protocol::Resumption => Setup::plain(),
            // A key that was made for this run cannot have been stolen; this one can.
            Protocol::Smkex if trust == Trust::StolenKey => Setup::new(Policy::Require).tls(raw()?),
            Protocol::Smkex => Setup::smkex(),
            Protocol::MtlsHello => multipath(Binding::Hello.into()),
            Protocol::MtlsExporter => multipath(Binding::Exporter.into()),
            Protocol::Auto => multipath(Bindings::ALL),
        };
        let server = world.serve(setup).await?;
        let (front, relay) = match protocol {
            Protocol::Relays => {
                let (front, relay) = relay(&world, &server).await?;
                (front, Some(relay))
            }
            _ => (server.address(), None),
        };
        Ok(Self {
            world,
            protocol,
            trust,
            front,
            agreed_ticket_key: Ticketer::new()?,
            _server: server,
            _relay: relay,
        })
    }

    /// The address for TLS and side connections.
    pub(super) fn address(&self) -> SocketAddr {
        self.front
    }

    /// The same port of another host, where an attacker can listen.
    pub(super) fn host(&self, number: u8) -> SocketAddr {
        SocketAddr::new(self.world.ip(number), self.front.port())
    }

    /// A man in the middle with the best credentials that the trust assumption allows.
    pub(super) fn mitm(&self) -> Result<MitmPlan> {
        let identity = self.identity()?;
        let plan = MitmPlan::new(&self.world, self.front, identity)?;
        Ok(match self.protocol.has_certificates() {
            true => plan,
            false => plan.takes_any_raw_key(),
        })
    }

    /// The same, whose tickets are under the key that attackers agreed on in advance.
    pub(super) fn mitm_with_agreed_ticket_key(&self) -> Result<MitmPlan> {
        Ok(self.mitm()?.ticket_key(&self.agreed_ticket_key))
    }

    fn identity(&self) -> Result<ServerConfig> {
        let pki = &self.world.pki;
        Ok(match (self.protocol.has_certificates(), self.trust) {
            (true, Trust::StolenKey) => self.world.server_config()?,
            // The client decides whether that authority is trusted.
            (true, _) => self.world.rogue_config()?,
            (false, Trust::StolenKey) => raw_keys::server_config(&pki.server)?,
            (false, _) => raw_keys::server_config(&pki.rogue)?,
        })
    }

    /// The client, whose paths lead to these addresses.
    pub(super) fn victim(&self, primary: SocketAddr, sides: &[SocketAddr]) -> Result<Victim> {
        let pki = &self.world.pki;
        let victim = self.world.victim_of(self.front)?.primary_to(primary);
        let victim = match (self.protocol, self.trust) {
            (Protocol::Unauthenticated, _) => {
                victim.with_config(raw_keys::client_config(provider())?)
            }
            (Protocol::Smkex, _) => victim.smkex(),
            (_, Trust::RogueCa) => {
                victim.with_config(tls::never_resuming(pki.client_config(tls::provider())?))
            }
            (_, Trust::HonestCas | Trust::StolenKey) => {
                victim.with_config(tls::client_config(&pki.ca)?)
            }
        };
        Ok(sides
            .iter()
            .fold(victim, |victim, &side| victim.side_to(side)))
    }

    /// Sends the secret request, and reads the secret page.
    pub(super) async fn fetch(&self, victim: &Victim) -> Result<FetchOutcome> {
        match self.protocol {
            Protocol::Unauthenticated | Protocol::Tls => {
                Ok(FetchOutcome::of(victim.fetch_plain().await))
            }
            Protocol::Smkex => self.connect(victim, Bindings::ALL, Method::Side).await,
            Protocol::MtlsHello => {
                let bindings = Binding::Hello.into();
                self.connect(victim, bindings, Method::Side).await
            }
            Protocol::MtlsExporter => {
                let bindings = Binding::Exporter.into();
                self.connect(victim, bindings, Method::Side).await
            }
            Protocol::Resumption => {
                self.connect(victim, Bindings::ALL, Method::Resumption)
                    .await
            }
            Protocol::Auto => self.connect(victim, Bindings::ALL, Method::Auto).await,
            Protocol::Relays => self.tunnel(victim).await,
        }
    }

    async fn connect(
        &self,
        victim: &Victim,
        bindings: Bindings,
        method: Method,
    ) -> Result<FetchOutcome> {
        let settings = victim.settings(Policy::Require).bindings(bindings);
        let builder = victim.connector_with(settings)?.method(method);
        Ok(match builder.build()?.connect(&victim.target()).await {
            Ok(stream) => FetchOutcome::of(fetch(stream).await),
            Err(error) => FetchOutcome::from_error(&error),
        })
    }

    /// Through a relay beside a client that knows only TLS.
    async fn tunnel(&self, victim: &Victim) -> Result<FetchOutcome> {
        let tunnel = victim.relay(Policy::Require)?.tunnel(victim.target());
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let client = victim.clone().primary_to(tcp.local_addr()?);
        let relayed = tokio::spawn(async move {
            let (stream, _) = tcp.accept().await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(tunnel.run(stream).await)
        });
        let fetched = client.fetch_plain().await;
        drop(client);
        let report = timeout(2 * PATIENCE, relayed).await???;
        Ok(match (&report.error, fetched) {
            (Some(error), Err(_)) => FetchOutcome::from_error(error),
            (_, fetched) => FetchOutcome::of(fetched),
        })
    }
}

/// A relay in front of the server, which does not support multipath TLS.
async fn relay(world: &World, server: &Server) -> Result<(SocketAddr, RelayListener)> {
    let settings = SideServiceSettings::new(Policy::Require).deadline(PATIENCE);
    let relay =
        ServerRelay::builder(&provider(), Endpoint::from(server.address()), settings).build()?;
    let tcp = TcpListener::bind(SocketAddr::new(world.ip(RELAY), 0)).await?;
    let front = tcp.local_addr()?;
    let mut listener = RelayListener::new(relay, ListenerLimits::default(), |_, _| {});
    listener.add(tcp);
    Ok((front, listener))
}

impl FetchOutcome {
    fn of(fetched: Result<String>) -> Self {
        match fetched {
            Ok(page) if page == PAGE_SECRET => Self::Used("used the connection".to_owned()),
            Ok(page) => Self::Failed(format!("got another page: {page}")),
            Err(error) => match error.downcast::<std::io::Error>() {
                Ok(error) => Self::from_error(&Error::from(*error)),
                Err(error) => Self::Failed(error.to_string()),
            },
        }
    }

    /// There is no connection.
    fn from_error(error: &Error) -> Self {
        match error {
            Error::Interception(evidence) => {
                Self::Refused(format!("intercepted: {}", evidence.reason.as_str()))
            }
            Error::Unverified(unverified) => {
                Self::Refused(format!("not verified: {}", unverified.reason.as_str()))
            }
            Error::Tls(rustls::Error::InvalidCertificate(why)) => {
                Self::Refused(format!("certificate not trusted: {why}"))
            }
            other => Self::Failed(other.to_string()),
        }
    }

    /// The client's message.
    pub(super) fn description(&self) -> &str {
        match self {
            Self::Used(description) | Self::Refused(description) | Self::Failed(description) => {
                description
            }
        }
    }

    /// Whether the client got far enough to use its side paths.
    pub(super) fn accepted_certificate(&self) -> bool {
        !self.description().starts_with("certificate not trusted")
    }
}
