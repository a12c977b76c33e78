//! The measurement: in every round each series connects once, in random order.

use std::sync::Arc;
use std::time::Duration;

use mtls_certs::Pki;

use super::clients::{self, Clients};
use super::network::{End, Network, Wire};
use super::series::Series;
use super::server;
use crate::Result;
use crate::meter::{self, Meter};
use crate::prng::Prng;
use crate::progress::Progress;
use crate::rounds::{Measured, Rounds, Subjects};
use crate::stats::Sorted;

/// Rounds before the first that counts: afterwards code and caches are warm, side connections are
/// open, and the client has its Fast Open cookie.
const WARM_UP: u32 = 3;

/// One setting of the links.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The round-trip time of the primary link.
    pub round_trip: Duration,
    /// The round-trip time of the side link, as a multiple.
    pub side_ratio: f64,
    /// Number of connections of each series that count.
    pub samples: u32,
}

impl Results {
    /// The times of one series in milliseconds.
    #[must_use]
    pub fn times(&self, series: Series) -> Sorted {
        let of = self.samples.iter().filter(|sample| sample.series == series);
        Sorted::new(of.map(|sample| sample.costs.time.as_secs_f64() * 1e3))
    }
}

impl Setting {
    fn rounds(&self) -> Rounds {
        Rounds {
            warm_up: WARM_UP,
            counted: self.samples,
        }
    }
}

/// One connection that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The round, from 0.
    pub round: u32,
    /// Its position in the round, from 0.
    pub turn: usize,
    /// The series.
    pub series: Series,
    /// The costs.
    pub costs: Costs,
}

impl From<Measured<Costs>> for Sample {
    fn from(measured: Measured<Costs>) -> Self {
        Self {
            round: measured.round,
            turn: measured.turn,
            series: Series::ALL[measured.subject],
            costs: measured.sample,
        }
    }
}

/// The costs of one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// From the call of connect until the application may send.
    pub time: Duration,
    /// CPU time of the client's threads for the whole connection, where it is known.
    pub client_cpu: Option<Duration>,
    /// The same of the server's threads.
    pub server_cpu: Option<Duration>,
    /// IP packets on the primary and the side link, of the whole connection.
    pub packets: [u64; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
}

/// The results of one setting.
#[derive(Clone, Debug)]
pub struct Results {
    /// The setting.
    pub setting: Setting,
    /// The round-trip times of the links as measured before, in milliseconds; empty on loopback.
    pub measured: [Sorted; 2],
    /// The samples, in the order in which they were taken.
    pub samples: Vec<Sample>,
    /// Connections whose SYN carried data, which the server took: of the counted and the warm-up
    /// ones together. `None` where the kernel does not tell.
    pub fast_opens: Option<u64>,
}

/// Measures all settings, one after the other, in one network.
pub(super) async fn run(
    network: &Network,
    settings: Vec<Setting>,
    seed: u64,
) -> Result<Vec<Results>> {
    let pki = Arc::new(Pki::new(&[
        network.server().to_string(),
        "127.0.0.1".to_owned(),
    ])?);
    let server = server::start(network, &pki).await?;
    let relay = server::start_relay(network, server.about.tls).await?;
    let client_relay = clients::start_relay(network, relay.about).await?;
    let (addresses, through) = (server.about, client_relay.about);
    let (client_meters, server_meters) = (vec![client_relay.meter], [server.meter, relay.meter]);
    let here = network.clone();
    let measuring = network.spawn(End::Client, move || async move {
        let testbed = Testbed {
            clients: Clients::new(&pki, addresses, &here.side()?, through)?,
            network: here,
            client_meters,
            server_meters: server_meters.to_vec(),
        };
        let rounds = settings.iter().map(Setting::rounds);
        let total = rounds.map(|rounds| rounds.measurements(Series::ALL.len()));
        let progress = Progress::new("latency", total.sum());
        let mut prng = Prng::new(seed);
        let mut results = Vec::with_capacity(settings.len());
        for setting in settings {
            results.push(testbed.results(setting, &mut prng, &progress).await?);
        }
        Ok(results)
    })?;
    let results = measuring.join().await;
    for host in [client_relay, relay] {
        host.stop().await?;
    }
    server.stop().await?;
    results
}

/// All that a measurement needs, in the client's thread.
struct Testbed {
    network: Network,
    clients: Clients,
    client_meters: Vec<Meter>,
    server_meters: Vec<Meter>,
}

/// A reading of all meters.
struct Reading {
    client_cpu: Option<Duration>,
    server_cpu: Option<Duration>,
    wire: Wire,
}

impl Testbed {
    async fn results(
        &self,
        setting: Setting,
        prng: &mut Prng,
        progress: &Progress,
    ) -> Result<Results> {
        let side = setting.round_trip.mul_f64(setting.side_ratio);
        let measured = self.network.set([setting.round_trip, side]).await?;
        let before = fast_opens();
        let all: Vec<usize> = (0..Series::ALL.len()).collect();
        let samples = setting.rounds().run(self, &all, prng, progress).await?;
        Ok(Results {
            setting,
            measured,
            samples: samples.into_iter().map(Sample::from).collect(),
            fast_opens: fast_opens().zip(before).map(|(now, then)| now - then),
        })
    }

    async fn set_up(&self, series: Series) -> Result<Duration> {
        let time = self.clients.set_up(series).await;
        time.map_err(|error| format!("{}: {error}", series.title()).into())
    }

    fn read(&self) -> Reading {
        let relays = meter::sum(&self.client_meters);
        Reading {
            client_cpu: relays.map(|relays| relays + meter::own()),
            server_cpu: meter::sum(&self.server_meters),
            wire: self.network.wire(),
        }
    }
}

impl Subjects for Testbed {
    type Sample = Costs;

    async fn measure(&self, subject: usize) -> Result<Costs> {
        let before = self.read();
        let time = self.set_up(Series::ALL[subject]).await?;
        self.network.wait_until_idle().await;
        let after = self.read();
        let used = |now: Option<Duration>, then: Option<Duration>| {
            now.zip(then).map(|(now, then)| now.saturating_sub(then))
        };
        let wire = after.wire.since(before.wire);
        Ok(Costs {
            time,
            client_cpu: used(after.client_cpu, before.client_cpu),
            server_cpu: used(after.server_cpu, before.server_cpu),
            packets: wire.packets,
            bytes: wire.bytes,
        })
    }
}

/// Number of accepted SYNs with data, of all sockets in this thread's namespace
/// (`TCPFastOpenActive` of `/proc/net/netstat`).
fn fast_opens() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").ok()?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, value) = both.find(|(name, _)| *name == "TCPFastOpenActive")?;
    value.parse().ok()
}
