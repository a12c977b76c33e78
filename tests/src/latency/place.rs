//! Where it is measured: over two emulated links between namespaces, or on the loopback.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::Path;
use tokio::time::sleep;

use super::stats::Sorted;
use crate::Result;
use crate::link::{Carried, Link, TwoLinks};
use crate::netns::{INTERFACES, Inside, SERVER, spawn_here};

/// How long nothing may have moved for everybody to be done.
const CALM: Duration = Duration::from_millis(1);
/// How often in a row.
const CALM_TIMES: u32 = 2;
/// After so many looks it is calm enough.
const MAX_LOOKS: u32 = 5_000;
/// Round trips that one measurement of a link takes.
const PROBES: usize = 200;
/// Fewer where they take long.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// The two ends, and what is between them.
#[derive(Clone)]
pub(super) enum Place {
    /// Namespaces and emulated links.
    Links(Arc<TwoLinks>),
    /// This host's own loopback.
    Loopback,
}

/// Where a thread runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Client,
    Server,
}

/// What was carried, in IP packets and bytes: on the primary link and on the side link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wire {
    pub(super) packets: [u64; 2],
    pub(super) bytes: [u64; 2],
}

impl Place {
    /// Two links whose delays are set later.
    pub(super) async fn emulated(seed: u64) -> Result<Self> {
        let links = TwoLinks::new([Link::default(); 2], seed).await?;
        for namespace in [&links.client, &links.server] {
            // What one connection has learnt of a link is no help to the next one.
            namespace.sysctl("net.ipv4.tcp_no_metrics_save=1")?;
            namespace.sysctl("net.ipv4.tcp_tw_reuse=1")?;
        }
        links.client.sysctl("net.ipv4.tcp_fastopen=1")?;
        // 2: takes Fast Open; 0x400: at every listener, without an option of its own.
        links.server.sysctl("net.ipv4.tcp_fastopen=1026")?;
        Ok(Self::Links(Arc::new(links)))
    }

    /// Runs a future at one end, in a thread and a runtime of its own.
    pub(super) fn spawn<T, F>(
        &self,
        end: End,
        future: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Inside<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
    {
        match (self, end) {
            (Self::Links(links), End::Client) => links.client.spawn(future),
            (Self::Links(links), End::Server) => links.server.spawn(future),
            (Self::Loopback, _) => Ok(spawn_here(future)),
        }
    }

    /// The server's address.
    pub(super) fn server(&self) -> IpAddr {
        match self {
            Self::Links(_) => SERVER,
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// The side path.
    pub(super) fn side(&self) -> Result<Path> {
        match self {
            Self::Links(_) => Ok(Path::interface(INTERFACES[1])?),
            Self::Loopback => Ok(Path::system()),
        }
    }

    /// Gives the links these round trips; what they measure then, in milliseconds.
    pub(super) async fn set(&self, round_trips: [Duration; 2]) -> Result<[Sorted; 2]> {
        let mut measured = [Sorted::default(), Sorted::default()];
        let Self::Links(links) = self else {
            return Ok(measured);
        };
        for (index, round_trip) in round_trips.into_iter().enumerate() {
            links.set(index, Link::symmetric(round_trip)).await?;
            let fit = PROBE_TIME.as_micros() / round_trip.as_micros().max(1);
            let times = usize::try_from(fit).unwrap_or(PROBES).clamp(5, PROBES);
            let probes = links.measure(index, times).await?;
            measured[index] = Sorted::new(probes.iter().map(|probe| probe.as_secs_f64() * 1e3));
        }
        Ok(measured)
    }

    /// What has been carried so far; nothing is known of the loopback.
    pub(super) fn wire(&self) -> Wire {
        let mut wire = Wire::default();
        if let Self::Links(links) = self {
            for index in 0..2 {
                let carried = links.carried(index);
                let sum = |count: fn(&Carried) -> u64| carried.iter().map(count).sum();
                wire.packets[index] = sum(|carried| carried.packets);
                wire.bytes[index] = sum(|carried| carried.bytes);
            }
        }
        wire
    }

    /// Until nothing is on its way any more and nobody sends anything.
    pub(super) async fn calm(&self) {
        let Self::Links(links) = self else {
            return sleep(CALM * CALM_TIMES).await;
        };
        let (mut calm, mut last) = (0, self.wire());
        for _ in 0..MAX_LOOKS {
            sleep(CALM).await;
            let now = self.wire();
            calm = if links.travelling() == 0 && now == last {
                calm + 1
            } else {
                0
            };
            if calm >= CALM_TIMES {
                return;
            }
            last = now;
        }
    }
}

impl Wire {
    pub(super) fn since(self, before: Self) -> Self {
        let less = |now: [u64; 2], then: [u64; 2]| [now[0] - then[0], now[1] - then[1]];
        Self {
            packets: less(self.packets, before.packets),
            bytes: less(self.bytes, before.bytes),
        }
    }
}
