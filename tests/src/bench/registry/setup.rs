//! Connection setup with an engine behind an emulated link, against the registry in memory.
//!
//! The client and the machines are on one host; only the engine is at the other end of the link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathConnector, MultipathListener,
    Policy, SideServiceSettings,
};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{BENCHMARK, BenchArgs};
use crate::bench::figure::{Figure, Limit, Quantity, Subject};
use crate::bench::worker::{Worker, bind, micros, runtime};
use crate::bench::{Comparison, compare, note};
use crate::link::{Link, TwoLinks};
use crate::redis::RedisServer;
use crate::rounds::Subjects;
use crate::stats::Sorted;
use crate::{Result, netns, tls};

/// The round trip to the engine.
const ROUND_TRIP: Duration = Duration::from_micros(200);
/// Connections of each subject in a round.
const BATCH: usize = 50;
/// The time in which a machine must be ready.
const START: Duration = Duration::from_secs(60);

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    if let Some(reason) = netns::unavailable() {
        note(&format!("the setup with an engine is skipped: {reason}"));
        return Ok(Vec::new());
    }
    runtime()?.block_on(over_link(args.clone()))
}

async fn over_link(args: BenchArgs) -> Result<Vec<Figure>> {
    let directory = tempfile::tempdir()?;
    let links = TwoLinks::new([Link::symmetric(ROUND_TRIP); 2], args.seed).await?;
    let server = RedisServer::new(directory.path().join("engine"), &[])?;
    let mut server = server.at(netns::SERVER);
    server.run_by(links.server.command("redis-server"))?;
    let engine = server.address();
    let measured = links.client.spawn(move || async move {
        let setups = Setups::start(engine)?;
        tokio::spawn(async move { compare(&setups, &args).await }).await?
    })?;
    measured.join().await
}

/// A client, and where its connections lead.
struct Setups {
    config: Arc<ClientConfig>,
    memory: Machine,
    /// They share the engine.
    fleet: [Machine; 2],
}

impl Setups {
    fn start(engine: SocketAddr) -> Result<Self> {
        let pki = Pki::new(&["localhost", "127.0.0.1"])?;
        let config = Arc::new(tls::server_config(&pki.server, tls::provider())?);
        let machine = |number: u16| Machine::start(&config, Some((number, engine)));
        Ok(Self {
            memory: Machine::start(&config, None)?,
            fleet: [machine(1)?, machine(2)?],
            config: Arc::new(tls::client_config(&pki.ca)?),
        })
    }
}

/// A server in a thread of its own.
struct Machine {
    address: SocketAddr,
    _worker: Worker,
}

impl Machine {
    /// With a number and an engine, or with the registry in memory.
    fn start(config: &Arc<ServerConfig>, shared: Option<(u16, SocketAddr)>) -> Result<Self> {
        let listener = bind()?;
        let address = listener.local_addr()?;
        let config = Arc::clone(config);
        let (ready, is_ready) = mpsc::channel();
        let worker = Worker::start("machine", move || async move {
            let mut settings = SideServiceSettings::new(Policy::Require);
            if let Some((number, engine)) = shared {
                let engine = format!("redis://{engine}");
                let registry = super::machine(number, &engine, None).await?;
                settings = settings.registry(Arc::new(registry));
            }
            let acceptor = MultipathAcceptor::builder(config, settings).build()?;
            let listener = TcpListener::from_std(listener)?;
            let _ = ready.send(());
            let mut listener =
                MultipathListener::new(acceptor, listener, ListenerLimits::default());
            loop {
                let (mut stream, _) = listener.accept().await;
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0]).await;
                });
            }
        })?;
        is_ready
            .recv_timeout(START)
            .map_err(|_| "a machine is not ready in time")?;
        Ok(Self {
            address,
            _worker: worker,
        })
    }
}

impl Comparison<2> for Setups {
    const BENCHMARK: &'static str = BENCHMARK;

    const QUANTITIES: [Quantity; 2] = [
        Quantity {
            name: "setup, engine 0.2 ms away",
            unit: "µs",
        },
        Quantity {
            name: "setup, engine 0.2 ms away, 99th percentile",
            unit: "µs",
        },
    ];

    fn subjects(&self) -> Vec<Subject<2>> {
        let shared = |name| Subject {
            name,
            limits: [Some(Limit::RatioAtMost(1.05)), None],
        };
        vec![
            Subject {
                name: "registry in memory",
                limits: [None; 2],
            },
            shared("shared registry, side connection to the same machine"),
            shared("shared registry, side connection to another machine"),
        ]
    }
}

impl Subjects for Setups {
    type Sample = [f64; 2];

    async fn measure(&self, subject: usize) -> Result<[f64; 2]> {
        let [one, other] = &self.fleet;
        let (primary, side) = match subject {
            0 => (&self.memory, &self.memory),
            1 => (one, one),
            _ => (one, other),
        };
        let settings = ClientSettings::new(Policy::Require)
            .side(Path::system())
            .side_endpoint(Endpoint::from(side.address))
            .side_idle_timeout(Duration::ZERO);
        let connector = MultipathConnector::builder(Arc::clone(&self.config), settings)
            .tickets(0)
            .build()?;
        let target = Endpoint::from(primary.address);
        let mut times = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let started = Instant::now();
            let mut stream = connector.connect(&target).await?;
            times.push(micros(started.elapsed()));
            stream.shutdown().await?;
        }
        let times = Sorted::new(times);
        Ok([times.median(), times.quantile(0.99)])
    }
}
