//! The two honest ends of a cell: a server, and a client that fetches its page.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mtls_core::observer::{Event, Observer};
use mtls_core::path::Endpoint;
use mtls_core::proto::binding::{Binding, Bindings};
use mtls_core::relay::{RelayListener, ServerRelay};
use mtls_core::{ClientSettings, Error, ListenerLimits, Method, Policy, SideServiceSettings};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::cell::{Protocol, Trust};
use super::outcome::FetchOutcome;
use super::quic;
use crate::attacker::{Injection, MitmPlan};
use crate::{Result, Server, Setup, Victim, World, eventually, fetch, provider, raw_keys, tls};

/// How long a verification may take on a machine under load.
const PATIENCE: Duration = Duration::from_secs(20);
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
    /// The server's, where attackers have stolen it.
    stolen_ticket_key: Option<Arc<dyn ProducesTickets>>,
    refusals: Arc<Refusals>,
    _server: Server,
    _relay: Option<RelayListener>,
}

/// Counts the connections that the server has refused for lack of a verification.
#[derive(Debug, Default)]
struct Refusals(AtomicUsize);

impl Observer for Refusals {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Failed(Error::Unverified(_)) = event {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Site {
    /// Opens it; clients and servers of multipath TLS demand verification.
    pub(super) async fn open(protocol: Protocol, trust: Trust) -> Result<Self> {
        let world = World::new()?;
        let raw = || raw_keys::server_config(&world.pki.server);
        let refusals = Arc::new(Refusals::default());
        let multipath = |bindings: Bindings| {
            let observer = Arc::clone(&refusals);
            let tune =
                move |settings: SideServiceSettings| settings.bindings(bindings).observer(observer);
            Setup::new(Policy::Require).tune(tune)
        };
        let setup = match protocol {
            Protocol::Unauthenticated => Setup::plain().tls(raw()?),
            Protocol::Tls | Protocol::Relays | Protocol::Resumption => Setup::plain(),
            // A key that was made for this run cannot have been stolen; this one can.
            Protocol::Smkex if trust == Trust::StolenKey => Setup::new(Policy::Require).tls(raw()?),
            Protocol::Smkex => Setup::smkex(),
            Protocol::MtlsHello => multipath(Binding::Hello.into()),
            Protocol::MtlsExporter => multipath(Binding::Exporter.into()),
            Protocol::MtlsMptcp => multipath(Binding::Exporter.into()).mptcp(),
            Protocol::Auto => multipath(Bindings::ALL),
            Protocol::Quic => Setup::plain().quic(),
            Protocol::MtlsQuic => multipath(Binding::Exporter.into()).quic(),
        };
        let mut stolen_ticket_key = None;
        let setup = match trust == Trust::StolenTicketKey && protocol.has_certificates() {
            true => {
                let mut config = world.server_config()?;
                config.ticketer = Ticketer::new()?;
                stolen_ticket_key = Some(Arc::clone(&config.ticketer));
                setup.tls(config)
            }
            false => setup,
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
            stolen_ticket_key,
            refusals,
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
        let stolen = self.stolen_ticket_key.iter();
        let plan = stolen.fold(plan, MitmPlan::ticket_key);
        Ok(match self.protocol.has_certificates() {
            true => plan,
            false => plan.takes_any_raw_key(),
        })
    }

    /// The same, whose tickets are under the key that attackers agreed on in advance.
    pub(super) fn mitm_with_agreed_ticket_key(&self) -> Result<MitmPlan> {
        Ok(self.mitm()?.ticket_key(&self.agreed_ticket_key))
    }

    /// A Retry packet that an attacker can make.
    pub(super) fn retry(&self) -> Result<Injection> {
        Injection::retry(&self.world)
    }

    fn identity(&self) -> Result<ServerConfig> {
        let pki = &self.world.pki;
        Ok(match (self.protocol.has_certificates(), self.trust) {
            (true, trust) => certificate(&self.world, trust)?,
            (false, Trust::StolenKey) => raw_keys::server_config(&pki.server)?,
            (false, _) => raw_keys::server_config(&pki.rogue)?,
        })
    }

    /// The client, whose paths lead to these addresses.
    pub(super) fn victim(&self, primary: SocketAddr, sides: &[SocketAddr]) -> Result<Victim> {
        let victim = self.world.victim_of(self.front)?.primary_to(primary);
        let victim = match (self.protocol, self.trust) {
            (Protocol::Unauthenticated, _) => {
                victim.with_config(raw_keys::client_config(provider())?)
            }
            (Protocol::Smkex, _) => victim.smkex(),
            (_, trust) => victim.with_config(client_config(&self.world, trust)?),
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
            Protocol::MtlsExporter | Protocol::MtlsMptcp => {
                let bindings = Binding::Exporter.into();
                self.connect(victim, bindings, Method::Side).await
            }
            Protocol::Resumption => {
                self.connect(victim, Bindings::ALL, Method::Resumption)
                    .await
            }
            Protocol::Auto => {
                let outcome = self.connect(victim, Bindings::ALL, Method::Auto).await?;
                Ok(self.or_refused_by_server(outcome).await)
            }
            Protocol::Relays => self.tunnel(victim).await,
            Protocol::Quic => quic::fetch_plain(victim).await,
            Protocol::MtlsQuic => quic::fetch_verified(victim).await,
        }
    }

    async fn connect(
        &self,
        victim: &Victim,
        bindings: Bindings,
        method: Method,
    ) -> Result<FetchOutcome> {
        let settings = victim.settings(Policy::Require).bindings(bindings);
        fetch_verified(victim, settings, method).await
    }

    /// A client that resumption has verified was not verified at its server, which then ends the
    /// connection.
    async fn or_refused_by_server(&self, outcome: FetchOutcome) -> FetchOutcome {
        let FetchOutcome::Failed(why) = outcome else {
            return outcome;
        };
        // The client may notice the end of the connection before the server's observer hears of it.
        let refuses = || self.refusals.0.load(Ordering::SeqCst) > 0;
        match eventually("the server refuses the client", refuses).await {
            Ok(()) => FetchOutcome::Refused("refused by the server: not verified".to_owned()),
            Err(_) => FetchOutcome::Failed(why),
        }
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

/// The best certificate of an attacker.
pub(super) fn certificate(world: &World, trust: Trust) -> Result<ServerConfig> {
    match trust {
        Trust::StolenKey => world.server_config(),
        // The client decides whether that authority is trusted.
        Trust::HonestCas | Trust::RogueCa | Trust::StolenTicketKey => world.rogue_config(),
    }
}

/// A client of servers with certificates.
pub(super) fn client_config(world: &World, trust: Trust) -> Result<ClientConfig> {
    let pki = &world.pki;
    Ok(match trust {
        Trust::RogueCa | Trust::StolenTicketKey => {
            tls::never_resuming(pki.client_config(tls::provider())?)
        }
        Trust::HonestCas | Trust::StolenKey => tls::client_config(&pki.ca)?,
    })
}

/// Sends the secret request over a verified connection, and reads the secret page.
pub(super) async fn fetch_verified(
    victim: &Victim,
    settings: ClientSettings,
    method: Method,
) -> Result<FetchOutcome> {
    let builder = victim.connector_with(settings)?.method(method);
    Ok(match builder.build()?.connect(&victim.target()).await {
        Ok(stream) => FetchOutcome::of(fetch(stream).await),
        Err(error) => FetchOutcome::from_error(&error),
    })
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
