//! The measurement: in every round each series has its turn once, in an order of chance.

use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use mtls_certs::Pki;

use super::clients::{self, Clients};
use super::meter::{self, Meter};
use super::place::{End, Place, Wire};
use super::series::Series;
use super::server;
use super::stats::Sorted;
use crate::Result;
use crate::prng::Prng;

/// Connections of each series before the first that counts: code and caches are warm then, side
/// connections are there, and the client has its Fast Open cookie.
const WARM_UP: u32 = 3;

/// One setting of the links.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The round trip that the primary link is given.
    pub round_trip: Duration,
    /// That of the side link, as a multiple.
    pub side_ratio: f64,
    /// How many connections of each series count.
    pub samples: u32,
}

/// One connection that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The round, from 0.
    pub round: u32,
    /// Its place in the round, from 0.
    pub turn: usize,
    /// What was connected.
    pub series: Series,
    /// From the call of connect until the application might send.
    pub time: Duration,
    /// Processor time of the client's threads until all was over, where it is known.
    pub client_cpu: Option<Duration>,
    /// The same of the server's.
    pub server_cpu: Option<Duration>,
    /// IP packets on the primary and the side link, of the whole connection.
    pub packets: [u64; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
}

/// All that came of one setting.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The setting.
    pub setting: Setting,
    /// The round trips that the links really took before, in milliseconds; empty on the loopback.
    pub measured: [Sorted; 2],
    /// The samples, in the order in which they were taken.
    pub samples: Vec<Sample>,
    /// Connections whose SYN carried data, which the server took: of the counted and the warm-up
    /// ones together. `None` where the kernel does not tell.
    pub fast_opens: Option<u64>,
}

/// Measures all settings, one after the other, at one place.
pub(super) async fn run(
    place: &Place,
    settings: Vec<Setting>,
    seed: u64,
    bar: ProgressBar,
) -> Result<Vec<Taken>> {
    let pki = Arc::new(Pki::new(&[
        place.server().to_string(),
        "127.0.0.1".to_owned(),
    ])?);
    let server = server::start(place, &pki).await?;
    let relay = server::start_relay(place, server.about.tls).await?;
    let client_relay = clients::start_relay(place, relay.about).await?;
    let (addresses, through) = (server.about, client_relay.about);
    let (client_meters, server_meters) = (vec![client_relay.meter], [server.meter, relay.meter]);
    let here = place.clone();
    let measuring = place.spawn(End::Client, move || async move {
        let clients = Clients::new(&pki, addresses, &here.side()?, through)?;
        let mut stand = Stand {
            place: here,
            clients,
            client_meters,
            server_meters: server_meters.to_vec(),
            prng: Prng::new(seed),
            bar,
        };
        let mut taken = Vec::with_capacity(settings.len());
        for setting in settings {
            taken.push(stand.measure(setting).await?);
        }
        stand.bar.finish_and_clear();
        Ok(taken)
    })?;
    let taken = measuring.join().await;
    for host in [client_relay, relay] {
        host.stop().await?;
    }
    server.stop().await?;
    taken
}

/// Everything that a measurement needs, in the client's thread.
struct Stand {
    place: Place,
    clients: Clients,
    client_meters: Vec<Meter>,
    server_meters: Vec<Meter>,
    prng: Prng,
    bar: ProgressBar,
}

/// What the meters show.
struct Reading {
    client_cpu: Option<Duration>,
    server_cpu: Option<Duration>,
    wire: Wire,
}

impl Stand {
    async fn measure(&mut self, setting: Setting) -> Result<Taken> {
        let side = setting.round_trip.mul_f64(setting.side_ratio);
        let measured = self.place.set([setting.round_trip, side]).await?;
        let fast_opens = fast_opens();
        for _ in 0..WARM_UP {
            for series in Series::ALL {
                self.set_up(series).await?;
                self.place.calm().await;
            }
        }
        let mut samples = Vec::with_capacity(setting.samples as usize * Series::ALL.len());
        for round in 0..setting.samples {
            let mut order = Series::ALL;
            self.prng.shuffle(&mut order);
            for (turn, series) in order.into_iter().enumerate() {
                samples.push(self.sample(round, turn, series).await?);
                self.bar.inc(1);
            }
        }
        let before = fast_opens;
        Ok(Taken {
            setting,
            measured,
            samples,
            fast_opens: self::fast_opens().zip(before).map(|(now, then)| now - then),
        })
    }

    async fn sample(&self, round: u32, turn: usize, series: Series) -> Result<Sample> {
        let before = self.read();
        let time = self.set_up(series).await?;
        self.place.calm().await;
        let after = self.read();
        let used = |now: Option<Duration>, then: Option<Duration>| {
            now.zip(then).map(|(now, then)| now.saturating_sub(then))
        };
        let wire = after.wire.since(before.wire);
        Ok(Sample {
            round,
            turn,
            series,
            time,
            client_cpu: used(after.client_cpu, before.client_cpu),
            server_cpu: used(after.server_cpu, before.server_cpu),
            packets: wire.packets,
            bytes: wire.bytes,
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
            wire: self.place.wire(),
        }
    }
}

/// How many SYNs with data were taken, of all sockets in this thread's namespace
/// (`TCPFastOpenActive` of `/proc/net/netstat`).
fn fast_opens() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").ok()?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, value) = both.find(|(name, _)| *name == "TCPFastOpenActive")?;
    value.parse().ok()
}
