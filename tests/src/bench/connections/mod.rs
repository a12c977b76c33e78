//! Connection setup, CPU time and throughput: plain tokio-rustls against multipath TLS.
//!
//! Every connection is a full handshake, one request and one response. The setup time is that of the
//! connect alone. CPU time is that of the whole process: of both ends, the kernel's part included.

pub(super) mod clients;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls_certs::Pki;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::clients::Clients;
use super::figure::{Figure, Limit, Quantity, Subject};
use super::server::Server;
use super::worker::{micros, run_client};
use super::{BenchArgs, Comparison};
use crate::rounds::Subjects;
use crate::stats::Sorted;
use crate::{Result, meter};

pub(super) use self::server::{CHUNK, Requests, respond};

/// Connections of each subject in a round, one at a time and then several at a time.
pub(super) const BATCH: u32 = 100;
const CONCURRENCY: usize = 16;
/// Sent over one connection in each round.
const MEGABYTES: u32 = 64;
/// Time for the last closes of a batch: they belong to its CPU time, but to no setup time.
const CLOSING: Duration = Duration::from_millis(10);

/// The kinds of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// A side connection for each connection.
    Fresh,
    /// One side connection for all.
    Pooled,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Plain, Kind::Fresh, Kind::Pooled];

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let server = Server::start::<Requests>(&pki)?;
    let clients = Arc::new(Clients::new(&pki, server.addresses())?);
    let args = args.clone();
    run_client(async move { super::compare(&Connections(clients), &args).await })
}

struct Connections(Arc<Clients>);

impl Comparison<5> for Connections {
    const BENCHMARK: &'static str = "connections";

    const QUANTITIES: [Quantity; 5] = [
        Quantity {
            name: "setup",
            unit: "µs",
        },
        Quantity {
            name: "CPU of both ends per connection",
            unit: "µs",
        },
        Quantity {
            name: "CPU of both ends per connection, 16 at a time",
            unit: "µs",
        },
        Quantity {
            name: "connections, 16 at a time",
            unit: "1/s",
        },
        Quantity {
            name: "throughput",
            unit: "MiB/s",
        },
    ];

    fn subjects(&self) -> Vec<Subject<5>> {
        let multipath = |name, setup, cpu| Subject {
            name,
            limits: [
                Some(Limit::RatioAtMost(setup)),
                None,
                Some(Limit::RatioAtMost(cpu)),
                None,
                None,
            ],
        };
        vec![
            Subject {
                name: "plain TLS",
                limits: [None; 5],
            },
            multipath("fresh side connection", 1.15, 1.30),
            multipath("pooled side connection", 1.10, 1.10),
        ]
    }
}

impl Subjects for Connections {
    type Sample = [f64; 5];

    async fn measure(&self, subject: usize) -> Result<[f64; 5]> {
        let kind = KINDS[subject];
        let (setup, cpu) = self.one_at_a_time(kind).await?;
        let (rate, cpu_together) = self.together(kind).await?;
        let time = self.0.send(kind, u64::from(MEGABYTES) << 20).await?;
        sleep(CLOSING).await;
        let throughput = f64::from(MEGABYTES) / time.as_secs_f64();
        Ok([setup, cpu, cpu_together, rate, throughput])
    }
}

impl Connections {
    /// The median of the setup times, and the CPU time for each connection.
    async fn one_at_a_time(&self, kind: Kind) -> Result<(f64, f64)> {
        let cpu = meter::process();
        let mut times = Vec::with_capacity(BATCH as usize);
        for _ in 0..BATCH {
            times.push(micros(self.0.set_up(kind).await?));
        }
        Ok((Sorted::new(times).median(), cpu_each_since(cpu).await))
    }

    /// Connections per second, and the CPU time for each.
    async fn together(&self, kind: Kind) -> Result<(f64, f64)> {
        let mut left = BATCH;
        let mut running = JoinSet::new();
        let (cpu, started) = (meter::process(), Instant::now());
        while left > 0 || !running.is_empty() {
            while left > 0 && running.len() < CONCURRENCY {
                let clients = Arc::clone(&self.0);
                running.spawn(async move { clients.set_up(kind).await });
                left -= 1;
            }
            if let Some(done) = running.join_next().await {
                done??;
            }
        }
        let rate = f64::from(BATCH) / started.elapsed().as_secs_f64();
        Ok((rate, cpu_each_since(cpu).await))
    }
}

/// Microseconds of CPU time for each connection of a batch.
pub(super) async fn cpu_each_since(start: Duration) -> f64 {
    sleep(CLOSING).await;
    micros(meter::process().saturating_sub(start)) / f64::from(BATCH)
}
