//! The relays, against HAProxy in TCP mode, socat and no relay.
//!
//! Each connection starts with a TLS 1.3 handshake, so that there is one to verify, and continues
//! with bytes in the clear. A relay cannot tell the difference, so the benchmark measures the relay
//! and not the ciphers of the two ends.

mod client;
mod middle;
mod server;

use std::time::Duration;

use mtls_certs::Pki;
use tokio::time::sleep;

use self::client::Clients;
use self::middle::{Middle, Middles};
use self::server::Transfers;
use super::figure::{Figure, Limit, Quantity, Subject};
use super::server::Server;
use super::worker::{micros, run_client};
use super::{BenchArgs, Comparison};
use crate::Result;
use crate::rounds::Subjects;
use crate::stats::Sorted;

/// Connections in each round, one at a time.
const CONNECTIONS: usize = 40;
/// Sent from the server to the client in each round.
const MEGABYTES: u32 = 256;
/// Messages of 1 KiB in each round, one at a time.
const MESSAGES: u32 = 1_000;
/// Time for the last closes of a measurement.
const CLOSING: Duration = Duration::from_millis(10);

/// The relay between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    /// With `mode tcp`.
    Haproxy,
    /// The same with `option splice-auto`.
    HaproxySplice,
    /// With a buffer of 64 KiB; it forks for each connection.
    Socat,
    /// The passthrough for a client without multipath support, without pipes.
    PassthroughCopying,
    /// The passthrough for a client without multipath support.
    Passthrough,
    /// The passthrough for a client of the library that requires verification; pooled.
    PassthroughVerified,
    /// The relay of `mtls-client proxy`, which requires verification; pooled.
    ProxyVerified,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::None => "no relay",
            Self::Haproxy => "HAProxy",
            Self::HaproxySplice => "HAProxy, splice-auto",
            Self::Socat => "socat",
            Self::PassthroughCopying => "passthrough, copying",
            Self::Passthrough => "passthrough",
            Self::PassthroughVerified => "passthrough, verified",
            Self::ProxyVerified => "proxy, verified",
        }
    }
}

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let server = Server::start::<Transfers>(&pki)?;
    let middles = Middles::start(server.addresses())?;
    let clients = Clients::new(&pki, &middles)?;
    let mut relays: Vec<Middle> = middles.all().cloned().collect();
    // HAProxy is the peer of the others, where it is installed.
    relays.sort_by_key(|relay| relay.kind != Kind::Haproxy);
    let relays = Relays { clients, relays };
    let args = args.clone();
    run_client(async move { super::compare(&relays, &args).await })
}

struct Relays {
    clients: Clients,
    relays: Vec<Middle>,
}

impl Comparison<4> for Relays {
    const BENCHMARK: &'static str = "relay";

    const QUANTITIES: [Quantity; 4] = [
        Quantity {
            name: "setup through a relay",
            unit: "µs",
        },
        Quantity {
            name: "throughput of a relay",
            unit: "MiB/s",
        },
        Quantity {
            name: "1 KiB round trips through a relay",
            unit: "1/s",
        },
        Quantity {
            name: "CPU of a relay",
            unit: "ms/GiB",
        },
    ];

    fn subjects(&self) -> Vec<Subject<4>> {
        let limits = |kind| match kind {
            Kind::Passthrough | Kind::PassthroughVerified | Kind::ProxyVerified => {
                [None, Some(Limit::RatioAtLeast(1.0)), None, None]
            }
            _ => [None; 4],
        };
        let subject = |relay: &Middle| Subject {
            name: relay.kind.name(),
            limits: limits(relay.kind),
        };
        self.relays.iter().map(subject).collect()
    }
}

impl Subjects for Relays {
    type Sample = [f64; 4];

    async fn measure(&self, subject: usize) -> Result<[f64; 4]> {
        let (relay, clients) = (&self.relays[subject], &self.clients);
        let mut times = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let (_, time) = clients.set_up(relay.kind).await?;
            times.push(micros(time));
        }
        sleep(CLOSING).await;

        let before = relay.cpu_time();
        let time = clients.download(relay.kind, u64::from(MEGABYTES) << 20);
        let throughput = f64::from(MEGABYTES) / time.await?.as_secs_f64();
        let used = relay.cpu_time().zip(before);
        let cpu = used.map_or(f64::NAN, |(after, before)| {
            micros(after.saturating_sub(before)) / 1e3 * 1024.0 / f64::from(MEGABYTES)
        });
        sleep(CLOSING).await;

        let time = clients.echo(relay.kind, MESSAGES).await?;
        sleep(CLOSING).await;
        let messages = f64::from(MESSAGES) / time.as_secs_f64();
        Ok([Sorted::new(times).median(), throughput, messages, cpu])
    }
}
