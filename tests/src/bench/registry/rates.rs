//! Registrations over one connection to a Redis server on this host, and their memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use mtls_certs::Pki;
use mtls_core::proto::binding::{Association, HelloHash, SideSecret, SideSecrets};
use mtls_core::proto::server::HandshakeKeys;
use mtls_core::registry::fleet::FleetRegistry;
use mtls_core::registry::redis::RedisEngine;
use mtls_core::registry::{PendingRegistry, RegistryKey, ServiceId};
use tokio::time::sleep;

use super::{BENCHMARK, BenchArgs};
use crate::bench::figure::{Figure, Limit};
use crate::bench::worker::run_client;
use crate::meter::{self, Meter};
use crate::redis::{RedisServer, free_address};
use crate::stats::Sorted;
use crate::{Result, tls};

/// Registrations in a round.
const BATCH: u64 = 2_000;
/// Registrations that are on their way at a time.
const AT_A_TIME: [usize; 3] = [1, 16, 256];
/// Handshakes whose memory is measured.
const HANDSHAKES: u64 = 100_000;
/// The secrets of the last registrations are written after this at the latest.
const WRITTEN: Duration = Duration::from_secs(1);

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    let rounds = args.rounds.get();
    run_client(async move {
        let directory = tempfile::tempdir()?;
        let pki = Pki::new(&["localhost", "127.0.0.1"])?;
        pki.write(&directory.path().join("pki"), false)?;
        let mut figures = Vec::new();
        for with_tls in [false, true] {
            figures.extend(rates(directory.path(), &pki, with_tls, rounds).await?);
        }
        figures.push(memory(directory.path()).await?);
        Ok(figures)
    })
}

/// Registrations per second, and per second of CPU time at both ends.
async fn rates(root: &Path, pki: &Pki, with_tls: bool, rounds: u32) -> Result<Vec<Figure>> {
    let transport = if with_tls { "TLS" } else { "TCP" };
    let (server, machine) = connect(root, pki, with_tls).await?;
    let engine = Meter::of_process(server.process()?.id()).ok_or("the engine has no number")?;
    let mut numbers = Numbers(0);
    // Code and caches are warm afterwards.
    register(&machine, numbers.next(BATCH), AT_A_TIME[1]).await?;
    let mut figures = Vec::new();
    for at_a_time in AT_A_TIME {
        let mut rates = Vec::new();
        let (own, engines) = (meter::own(), engine.read());
        for _ in 0..rounds {
            let started = Instant::now();
            register(&machine, numbers.next(BATCH), at_a_time).await?;
            rates.push(BATCH as f64 / started.elapsed().as_secs_f64());
        }
        let all = BATCH as f64 * f64::from(rounds);
        let per_core = |used: Duration| all / used.as_secs_f64();
        let of_engine = engine.read().zip(engines).map(|(now, then)| now - then);
        let figure = |name: &str, rate| {
            let name = format!("registrations over {transport}, {at_a_time} at a time{name}");
            Figure::alone(BENCHMARK, name, "1/s", rate, None)
        };
        figures.push(figure("", Sorted::new(rates).median()));
        figures.push(figure(
            ", per core of the machine",
            per_core(meter::own() - own),
        ));
        figures.extend(of_engine.map(|used| figure(", per core of the engine", per_core(used))));
    }
    Ok(figures)
}

async fn connect(
    root: &Path,
    pki: &Pki,
    with_tls: bool,
) -> Result<(RedisServer, FleetRegistry<RedisEngine>)> {
    if !with_tls {
        let mut server = RedisServer::new(root.join("tcp"), &[])?;
        server.run().await?;
        let address = format!("redis://{}", server.address());
        let machine = super::machine(1, &address, None).await?;
        return Ok((server, machine));
    }
    let file = |name: &str| root.join("pki").join(name).display().to_string();
    let address = free_address()?;
    let mut server = RedisServer::new(
        root.join("tls"),
        &[
            "--tls-port",
            &address.port().to_string(),
            "--tls-cert-file",
            &file("server.pem"),
            "--tls-key-file",
            &file("server.key"),
            "--tls-ca-cert-file",
            &file("ca.pem"),
            "--tls-auth-clients",
            "no",
        ],
    )?;
    server.run().await?;
    let config = Arc::new(tls::client_config(&pki.ca)?);
    let machine = super::machine(1, &format!("rediss://{address}"), Some(config)).await?;
    Ok((server, machine))
}

/// Bytes of the engine for each handshake that is registered.
async fn memory(root: &Path) -> Result<Figure> {
    let mut server = RedisServer::new(root.join("memory"), &[])?;
    server.run().await?;
    let machine = super::machine(1, &format!("redis://{}", server.address()), None).await?;
    let mut numbers = Numbers(0);
    // Allocations that an engine makes once are not counted.
    register(&machine, numbers.next(BATCH), AT_A_TIME[2]).await?;
    sleep(WRITTEN).await;
    let before = server.info("used_memory")?;
    register(&machine, numbers.next(HANDSHAKES), AT_A_TIME[2]).await?;
    sleep(WRITTEN).await;
    let bytes = (server.info("used_memory")? - before) / HANDSHAKES as f64;
    let name = format!("engine memory per handshake, {HANDSHAKES} of them");
    let limit = Some(Limit::AtMost(400.0));
    Ok(Figure::alone(BENCHMARK, name, "B", bytes, limit))
}

/// Numbers that no handshake has had.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, count: u64) -> std::ops::Range<u64> {
        let first = self.0;
        self.0 += count;
        first..self.0
    }
}

async fn register(
    machine: &FleetRegistry<RedisEngine>,
    numbers: std::ops::Range<u64>,
    at_a_time: usize,
) -> Result {
    stream::iter(numbers)
        .map(|number| register_one(machine, number))
        .buffer_unordered(at_a_time)
        .try_collect::<()>()
        .await
}

/// As a server does: the reservation first, and the secrets after it.
async fn register_one(machine: &FleetRegistry<RedisEngine>, number: u64) -> Result {
    let mut random = [0; 32];
    random[..8].copy_from_slice(&number.to_be_bytes());
    let key = RegistryKey {
        service: ServiceId::default(),
        association: Association::from_client_random(&random),
    };
    let keys = HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(SideSecret::new(random)),
        ..SideSecrets::from_hello(&HelloHash(random))
    });
    let reservation = machine.reserve(key).ok_or("the machine has no lease")?;
    reservation.register(keys).await?;
    Ok(())
}
