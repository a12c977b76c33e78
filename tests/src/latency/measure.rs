//! The measurement: in every round each series connects once, in random order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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

/// How often a connection over Multipath TCP may be refused before the measurement fails.
const MAX_ATTEMPTS: u32 = 3;

/// The round trip of the primary link while round trips are counted: longer than any computation, which
/// must not change the order of the packets.
const COUNTED: Duration = Duration::from_millis(80);

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
    /// The round trips of the primary path that the series over Multipath TCP take in
    /// [logical time](crate::link::logical).
    pub round_trips: Vec<(Series, f64)>,
    /// Connections over Multipath TCP that were refused, and repeated: the kernel directs bytes as best
    /// effort.
    pub refused: u32,
    /// The reason why the series over Multipath TCP were not measured; `None` if they were.
    pub no_mptcp: Option<String>,
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
            clients: Clients::new(&pki, addresses, &here, through)?,
            subjects: subjects(&here),
            refused: AtomicU32::new(0),
            network: here,
            client_meters,
            server_meters: server_meters.to_vec(),
        };
        let rounds = settings.iter().map(Setting::rounds);
        let total = rounds.map(|rounds| rounds.measurements(testbed.subjects.len()));
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

/// The indices of the series that this network allows.
fn subjects(network: &Network) -> Vec<usize> {
    let has_mptcp = network.no_mptcp().is_none();
    let possible = |series: &Series| has_mptcp || !series.over_mptcp();
    let series = Series::ALL.into_iter().filter(possible);
    series.map(Series::index).collect()
}

/// All that a measurement needs, in the client's thread.
struct Testbed {
    network: Network,
    /// The series that are measured, by their indices.
    subjects: Vec<usize>,
    /// See [`Results::refused`].
    refused: AtomicU32,
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
        let rounds = setting.rounds();
        let samples = rounds.run(self, &self.subjects, prng, progress).await?;
        let opened = fast_opens();
        Ok(Results {
            round_trips: self.round_trips(setting.side_ratio).await?,
            refused: self.refused.swap(0, Ordering::Relaxed),
            no_mptcp: self.network.no_mptcp(),
            setting,
            measured,
            samples: samples.into_iter().map(Sample::from).collect(),
            fast_opens: opened.zip(before).map(|(now, then)| now - then),
        })
    }

    /// Counts the round trips of the series over Multipath TCP. The simulation has no kernel that does.
    async fn round_trips(&self, side_ratio: f64) -> Result<Vec<(Series, f64)>> {
        if self.network.no_mptcp().is_some() {
            return Ok(Vec::new());
        }
        let both = [COUNTED, COUNTED.mul_f64(side_ratio)];
        let Some(time) = self.network.logical_time(both).await? else {
            return Ok(Vec::new());
        };
        let mut counted = Vec::new();
        for series in Series::MPTCP {
            for _ in 0..MAX_ATTEMPTS {
                time.restart();
                let clock = self.clients.logical_time(series, &time).await;
                self.network.wait_until_quiet().await;
                if let Ok(clock) = clock {
                    counted.push((series, clock.as_secs_f64() / COUNTED.as_secs_f64()));
                    break;
                }
                self.count_refused();
            }
        }
        self.network.stop_logical_time();
        Ok(counted)
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
        let series = Series::ALL[subject];
        let attempts = if series.over_mptcp() { MAX_ATTEMPTS } else { 1 };
        for _ in 1..attempts {
            match self.connect(series).await {
                Ok(costs) => return Ok(costs),
                Err(_) => self.count_refused(),
            }
            self.network.wait_until_quiet().await;
        }
        self.connect(series).await
    }
}

impl Testbed {
    fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    async fn connect(&self, series: Series) -> Result<Costs> {
        let before = self.read();
        let time = self.set_up(series).await?;
        match series.over_mptcp() {
            true => self.network.wait_until_quiet().await,
            false => self.network.wait_until_idle().await,
        }
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
