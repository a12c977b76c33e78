//! Thirty days of virtual time: connections with and without faults, and a machine that sleeps. In each
//! pause everything is back at its level.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use mtls_certs::{KeyAlgorithm, Pki};
use mtls_core::path::{Dial, DialError, Dialed, Endpoint, PathKind, RouteInfo};
use mtls_core::registry::MemoryRegistry;
use mtls_core::{
    ClientSettings, MultipathAcceptor, MultipathConnector, Policy, SideServiceSettings,
};
use mtls_lab::prng::Prng;
use mtls_lab::tls;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use tokio::io::DuplexStream;
use tokio::runtime::Handle;
use tokio::time::{advance, sleep, timeout};

use super::exchange::{
    EFFECTS, End, HOST, LONG, On, POLICIES, client, ms, serve_primary, serve_side,
};
use super::wire::{Direction, Fault, Wire};

const DAY: Duration = Duration::from_secs(24 * 3600);
const DAYS: u32 = 30;
const BURSTS: u32 = 6;
/// At a time, over shared side connections.
const CONNECTIONS: usize = 4;
/// The part of the transports that have a fault.
const FAULTS: f64 = 0.15;
/// More bytes than either end sends.
const LONGEST: usize = 1_600;
/// By which the memory may have grown after the first days, in bytes.
const GROWTH: usize = 4 << 20;

/// The network, and both ends.
struct Month {
    network: Network,
    registry: MemoryRegistry,
    connectors: Vec<MultipathConnector<FaultyPath>>,
}

#[derive(Clone)]
struct Network(Arc<Shared>);

struct Shared {
    acceptor: MultipathAcceptor,
    faults: Mutex<Faults>,
}

struct Faults {
    prng: Prng,
    /// How many transports had one.
    count: usize,
}

#[derive(Clone)]
struct FaultyPath {
    network: Network,
    on: On,
}

/// The state that is left in a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    handshakes: usize,
    waits: usize,
    tasks: usize,
}

impl Month {
    fn new() -> Self {
        let pki = Pki::with_algorithm(&[HOST], KeyAlgorithm::Ed25519).expect("a pki");
        let provider = tls::provider_with_groups(&[X25519]);
        let server = tls::resuming_server_config(&pki.server, Arc::clone(&provider));
        let server = Arc::new(server.expect("a server"));
        let registry = MemoryRegistry::default();
        let settings =
            SideServiceSettings::new(Policy::Observe).registry(Arc::new(registry.clone()));
        let acceptor = MultipathAcceptor::builder(server, settings).inherit(DAY);
        let acceptor = acceptor.max_remembered_handshakes(100).build();
        let network = Network(Arc::new(Shared {
            acceptor: acceptor.expect("an acceptor"),
            faults: Mutex::new(Faults {
                prng: Prng::new(16),
                count: 0,
            }),
        }));
        let config = Arc::new(pki.client_config(provider).expect("a client"));
        let connectors = POLICIES.map(|policy| {
            let path = |on| FaultyPath {
                network: network.clone(),
                on,
            };
            let settings = ClientSettings::with_primary(policy, path(On::Primary));
            let settings = settings.side(path(On::Side));
            let builder = MultipathConnector::builder(Arc::clone(&config), settings);
            let builder = match policy {
                Policy::Prefer => builder.inherit(DAY / 2),
                _ => builder,
            };
            builder.tickets(4).build().expect("a connector")
        });
        Self {
            network,
            registry,
            connectors: connectors.into(),
        }
    }

    /// Connects several times at once; returns the conclusions.
    async fn burst(&self) -> Vec<End> {
        let connector = |index: usize| &self.connectors[index % self.connectors.len()];
        let clients = (0..CONNECTIONS).map(|index| client(connector(index)));
        let ends = timeout(LONG + DAY, join_all(clients)).await;
        let ends = ends.expect("the clients have not ended");
        ends.into_iter().map(|(end, ..)| end).collect()
    }

    fn level(&self) -> Level {
        Level {
            handshakes: self.registry.handshakes(),
            waits: self.registry.waits(),
            tasks: Handle::current().metrics().num_alive_tasks(),
        }
    }
}

impl Network {
    fn fault(&self) -> Option<Fault> {
        let mut faults = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if !faults.prng.chance(FAULTS) {
            return None;
        }
        faults.count += 1;
        let direction = Direction::BOTH[faults.prng.below(2)];
        // Half of them fall into the exchange on a side connection.
        let bytes = if faults.prng.chance(0.5) {
            150
        } else {
            LONGEST
        };
        Some(Fault {
            direction,
            after: faults.prng.below(bytes),
            effect: EFFECTS[faults.prng.below(EFFECTS.len())],
        })
    }

    fn faults(&self) -> usize {
        let faults = self.0.faults.lock();
        faults.unwrap_or_else(PoisonError::into_inner).count
    }

    fn connected(&self, on: On) -> DuplexStream {
        let (_, near, far) = Wire::new(ms(10), self.fault());
        let acceptor = self.0.acceptor.clone();
        match on {
            On::Primary => drop(tokio::spawn(serve_primary(acceptor, far, None))),
            On::Side => drop(tokio::spawn(serve_side(acceptor, far))),
        }
        near
    }
}

impl Dial for FaultyPath {
    type Stream = DuplexStream;

    fn dial(&self, to: &Endpoint) -> BoxFuture<'static, Result<Dialed<DuplexStream>, DialError>> {
        let (path, port) = (self.clone(), to.port);
        Box::pin(async move {
            sleep(ms(20)).await;
            Ok(Dialed {
                stream: path.network.connected(path.on),
                local: None,
                peer: Some(SocketAddr::from(([192, 0, 2, 1], port))),
                via: PathKind::Direct,
                resolver: None,
                route: RouteInfo::default().into(),
                mptcp: false,
            })
        })
    }
}

/// The resident memory of this process, in bytes.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("memory");
    let pages = statm.split(' ').nth(1).expect("the resident pages");
    pages.parse::<usize>().expect("a number") * 4096
}

/// One day. The machine sleeps for a day more, in the middle of connections, on every tenth.
async fn day(month: &Month, day: u32) {
    for burst in 0..BURSTS {
        let before = month.network.faults();
        let ends = match (day % 10, burst) {
            (9, 3) => {
                let asleep = async {
                    sleep(ms(u64::from(day))).await;
                    advance(DAY).await;
                };
                tokio::join!(month.burst(), asleep).0
            }
            _ => {
                let ends = month.burst().await;
                let verified = ends.iter().all(|end| *end == End::Verified);
                let faults = month.network.faults() - before;
                assert!(verified || faults > 0, "day {day}: {ends:?}");
                ends
            }
        };
        assert_eq!(ends.len(), CONNECTIONS);
        sleep(DAY / BURSTS).await;
        let nothing = Level {
            handshakes: 0,
            waits: 0,
            tasks: 0,
        };
        assert_eq!(month.level(), nothing, "day {day}");
    }
}

#[test]
fn thirty_days_leave_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let month = Month::new();
        let mut early = 0;
        for number in 0..DAYS {
            if number == 5 {
                early = memory();
            }
            day(&month, number).await;
        }
        let grown = memory().saturating_sub(early);
        assert!(grown < GROWTH, "{grown} bytes more after {DAYS} days");
        println!("{} faults, {grown} bytes more", month.network.faults());
        assert!(month.network.faults() > 50);
    });
}
