//! Two and more network paths in virtual time, under the real connector and acceptor.
//!
//! ```text
//!            ┌────────────── primary: one link ──────────────┐
//!  client ───┤                                               ├─── server
//!            └── side N: a link ── gateway-N ── a link ──────┘
//! ```
//!
//! The clock moves in steps of one millisecond, computing takes no time, and every link delays
//! each message by exactly half of its path's round trip, so a test can demand that two times
//! are *equal*. Side paths lead over gateways of their own because a simulated host has one
//! address and a pair of hosts one link. turmoil answers a SYN without letting the answer travel;
//! [`SimPath`] lets it travel.

mod datagrams;
mod hosts;
mod path;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mtls_certs::Pki;
use mtls_core::path::{Dial, Endpoint, Host, HostName};
use mtls_core::quic::{QuicConnection, QuicConnector};
use mtls_core::registry::fleet::MachineId;
use mtls_core::registry::fleet::double::MemoryStore;
use mtls_core::{ClientSettings, ConnectorBuilder, Error, MultipathConnector, Policy};
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use turmoil::net::TcpStream;

pub use path::{SimListener, SimPath};

use crate::quic::{self, ALPN};
use crate::tls;

/// The name of the server, in certificates too.
pub const SERVER: &str = "server";
/// The name of the second machine of a fleet.
pub const SECOND_SERVER: &str = "second-server";
/// The name of the client's host.
pub const CLIENT: &str = "client";
/// The name of the host of a man in the middle.
pub const INTERCEPTOR: &str = "interceptor";
/// The port of everything.
pub const PORT: u16 = 443;

/// The link between a gateway and the server; the rest of a side path lies before the gateway.
const BEHIND_GATEWAY: Duration = Duration::from_millis(1);
/// More than any wait of either end.
const SIMULATION: Duration = Duration::from_secs(60);

/// A network, a server and a client of it.
pub struct Lab {
    /// The round trip of the primary path: an even number of milliseconds, at least 2.
    pub primary: Duration,
    /// The round trips of the side paths: even numbers of milliseconds, at least 4.
    pub sides: Vec<Duration>,
    /// The server.
    pub server: ServerKind,
    /// The attacker on the primary path. Its host is as far away as the server is.
    pub interceptor: Interceptor,
    /// The key-exchange groups that the server supports; empty: the provider's.
    pub server_groups: Vec<&'static dyn SupportedKxGroup>,
    /// Whether the server and the interceptor also take QUIC.
    pub quic: bool,
    /// The engine of a fleet of two machines, of which side paths reach the second. `None`: one
    /// server.
    pub fleet: Option<MemoryStore>,
}

/// The protocol that the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// tokio-rustls alone.
    Plain,
    /// The acceptor, with this policy.
    Multipath(Policy),
}

/// The attacker on the primary path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interceptor {
    /// None.
    Absent,
    /// Terminates TLS with the rogue authority's certificate and relays to the server.
    Terminates,
    /// Accepts the connection and says nothing.
    Silent,
}

/// A connection as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// When the application had read the request, since the simulation's start.
    pub request_at: Duration,
    /// The verdict at that time; `None` from a plain server.
    pub outcome: Option<&'static str>,
}

/// The client's end of a [`Lab`].
pub struct Client {
    primary: SimPath,
    sides: Vec<SimPath>,
    config: Arc<ClientConfig>,
}

/// The result of a client's function, and the connections that the server saw.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The function's value.
    pub client: T,
    /// The connections that the application at the server served.
    pub served: Vec<Served>,
}

impl Lab {
    /// An honest network: the server requires verification.
    #[must_use]
    pub fn honest(primary: Duration, sides: &[Duration]) -> Self {
        Self {
            primary,
            sides: sides.to_vec(),
            server: ServerKind::Multipath(Policy::Require),
            interceptor: Interceptor::Absent,
            server_groups: Vec::new(),
            quic: false,
            fleet: None,
        }
    }

    /// Runs a client in the network until its function is done.
    ///
    /// # Panics
    /// When the simulation fails, and for round trips that cannot be simulated.
    pub fn run<T, F>(self, client: impl FnOnce(Client) -> F + 'static) -> Outcome<T>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let pki = Pki::new(&[SERVER]).expect("a pki");
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut sim = turmoil::Builder::new()
            .simulation_duration(SIMULATION)
            .rng_seed(1)
            .build();
        self.add_server(&mut sim, &pki, &served);
        for index in 0..self.sides.len() {
            let to = self.side_server();
            sim.host(gateway(index), move || hosts::relay(to));
        }
        self.add_interceptor(&mut sim, &pki);
        let end = self.client(&pki);
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        sim.client(CLIENT, async move {
            let value = client(end).await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            // Messages in flight arrive, so that the server's view is complete.
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        });
        self.set_latencies(&sim);
        sim.run().expect("a simulation");
        let client = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        let served = served.lock().unwrap_or_else(PoisonError::into_inner);
        Outcome {
            client: client.expect("a client that has ended"),
            served: served.clone(),
        }
    }

    fn add_server<'a>(&self, sim: &mut turmoil::Sim<'a>, pki: &Pki, served: &hosts::Log) {
        let provider = match self.server_groups.as_slice() {
            [] => tls::provider(),
            groups => tls::provider_with_groups(groups),
        };
        let mut config = tls::server_config(&pki.server, provider).expect("a configuration");
        if self.server == ServerKind::Plain {
            // As most servers do; verification by resumption needs them.
            config.send_tls13_tickets = 2;
        }
        let config: Arc<ServerConfig> = Arc::new(config);
        let mut machines = vec![(SERVER, self.fleet.clone())];
        if let Some(store) = &self.fleet {
            machines.push((SECOND_SERVER, Some(store.clone())));
        }
        for (number, (name, store)) in (0..).zip(machines) {
            let (kind, quic, served) = (self.server, self.quic, Arc::clone(served));
            let config = Arc::clone(&config);
            sim.host(name, move || {
                let machine = store.clone().map(|store| (store, MachineId(number)));
                let server = hosts::Server {
                    kind,
                    quic,
                    config: Arc::clone(&config),
                    log: Arc::clone(&served),
                };
                server.run(machine)
            });
        }
    }

    /// The server that side connections reach.
    fn side_server(&self) -> &'static str {
        match self.fleet {
            Some(_) => SECOND_SERVER,
            None => SERVER,
        }
    }

    fn add_interceptor(&self, sim: &mut turmoil::Sim<'_>, pki: &Pki) {
        match self.interceptor {
            Interceptor::Absent => {}
            Interceptor::Silent => sim.host(INTERCEPTOR, hosts::silent),
            Interceptor::Terminates => {
                let rogue = tls::server_config(&pki.rogue, tls::provider());
                let rogue = Arc::new(rogue.expect("a configuration"));
                let onward = Arc::new(tls::client_config(&pki.ca).expect("a configuration"));
                let quic = self.quic;
                sim.host(INTERCEPTOR, move || {
                    hosts::terminator(Arc::clone(&rogue), Arc::clone(&onward), quic)
                });
            }
        }
    }

    /// The client trusts the rogue authority too.
    fn client(&self, pki: &Pki) -> Client {
        let entrance = match self.interceptor {
            Interceptor::Absent => SERVER.to_owned(),
            Interceptor::Silent | Interceptor::Terminates => INTERCEPTOR.to_owned(),
        };
        let side = |(index, rtt): (usize, &Duration)| SimPath::new(gateway(index), *rtt);
        let config =
            tls::never_resuming(pki.client_config(tls::provider()).expect("a configuration"));
        Client {
            primary: SimPath::new(entrance, self.primary),
            sides: self.sides.iter().enumerate().map(side).collect(),
            config: Arc::new(config),
        }
    }

    fn set_latencies(&self, sim: &turmoil::Sim<'_>) {
        let one_way = |rtt: Duration| {
            assert_eq!(rtt.as_micros() % 2000, 0, "an even number of milliseconds");
            rtt / 2
        };
        sim.set_link_latency(CLIENT, SERVER, one_way(self.primary));
        if self.interceptor != Interceptor::Absent {
            sim.set_link_latency(CLIENT, INTERCEPTOR, one_way(self.primary));
            sim.set_link_latency(INTERCEPTOR, SERVER, one_way(self.primary));
        }
        for (index, rtt) in self.sides.iter().enumerate() {
            let before = one_way(*rtt)
                .checked_sub(BEHIND_GATEWAY)
                .filter(|before| !before.is_zero());
            let before = before.expect("a side path has a round trip of at least 4 ms");
            sim.set_link_latency(CLIENT, gateway(index), before);
            sim.set_link_latency(gateway(index), self.side_server(), BEHIND_GATEWAY);
        }
    }
}

impl Client {
    /// Settings with all paths of the network.
    pub fn settings(&self, policy: Policy) -> ClientSettings<SimPath> {
        let settings = ClientSettings::with_primary(policy, self.primary.clone());
        self.sides
            .iter()
            .cloned()
            .fold(settings, ClientSettings::side)
    }

    /// A connector over all paths of the network.
    pub fn connector(&self, policy: Policy) -> ConnectorBuilder<SimPath> {
        self.connector_with(self.settings(policy))
    }

    /// A connector with these settings.
    pub fn connector_with(&self, settings: ClientSettings<SimPath>) -> ConnectorBuilder<SimPath> {
        MultipathConnector::builder(Arc::clone(&self.config), settings)
    }

    /// The path of the TLS connection.
    #[must_use]
    pub fn primary(&self) -> &SimPath {
        &self.primary
    }

    /// The configuration of plain TLS and of the connectors.
    pub fn config_mut(&mut self) -> &mut ClientConfig {
        Arc::make_mut(&mut self.config)
    }

    /// The server's address.
    ///
    /// # Panics
    /// Never: the name is a constant.
    #[must_use]
    pub fn target(&self) -> Endpoint {
        let name = HostName::new(SERVER).expect("a constant name");
        Endpoint::new(Host::Name(name), PORT)
    }

    /// Connects by plain tokio-rustls over the primary path.
    ///
    /// # Errors
    /// As the dial and tokio-rustls say.
    pub async fn plain(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let dialed = self.primary.dial(&self.target()).await;
        let dialed = dialed.map_err(std::io::Error::other)?;
        let name = ServerName::try_from(SERVER).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.config))
            .connect(name, dialed.stream)
            .await
    }

    /// A connector over QUIC with these settings. The primary path is that of [`quic`](Self::quic).
    ///
    /// # Errors
    /// Those of the builder.
    pub fn quic_connector(
        &self,
        settings: ClientSettings<SimPath>,
    ) -> Result<QuicConnector<SimPath>, Error> {
        self.quic_over(&self.connector_with(settings).build()?)
    }

    /// A connector over QUIC with the settings and the side connections of one over TCP.
    ///
    /// # Errors
    /// As [`quic_connector`](Self::quic_connector).
    pub fn quic_over(
        &self,
        tcp: &MultipathConnector<SimPath>,
    ) -> Result<QuicConnector<SimPath>, Error> {
        QuicConnector::builder(tcp).alpn(&[ALPN]).build()
    }

    /// Lets the next dial of this side path carry data in its SYN (TCP Fast Open).
    ///
    /// # Errors
    /// As [`SimPath::fast_open`].
    pub async fn fast_open_side(&self, index: usize) -> std::io::Result<()> {
        self.sides[index].fast_open(PORT).await
    }

    /// Connects over QUIC, and verifies the connection over the side paths.
    ///
    /// # Errors
    /// Those of the connector.
    ///
    /// # Panics
    /// When the simulation has no host for it.
    pub async fn quic(&self, connector: &QuicConnector<SimPath>) -> Result<QuicConnection, Error> {
        let endpoint = datagrams::endpoint(0, None).await.expect("a port");
        let name = ServerName::try_from(SERVER).expect("a constant name");
        let (address, side) = (self.entrance(), self.target());
        connector.connect_on(&endpoint, address, name, &side).await
    }

    /// Connects as plain quinn does, over the primary path.
    ///
    /// # Errors
    /// Those of quinn.
    ///
    /// # Panics
    /// As [`quic`](Self::quic).
    pub async fn plain_quic(&self) -> Result<quinn::Connection, quinn::ConnectionError> {
        let endpoint = datagrams::endpoint(0, None).await.expect("a port");
        let config = quic::client_config((*self.config).clone()).expect("TLS 1.3");
        let connecting = endpoint.connect_with(config, self.entrance(), SERVER);
        connecting.expect("a connection").await
    }

    fn entrance(&self) -> SocketAddr {
        SocketAddr::new(turmoil::lookup(self.primary.entrance()), PORT)
    }

    /// Drops all packets on this side path from now on, without an error to either end.
    pub fn swallow_side(&self, index: usize) {
        turmoil::hold(CLIENT, gateway(index));
    }
}

fn gateway(index: usize) -> String {
    format!("gateway-{index}")
}
