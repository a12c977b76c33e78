//! The network of a measurement: two emulated links between namespaces, or loopback.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::Path;
use tokio::time::sleep;

use crate::Result;
use crate::link::logical::LogicalTime;
use crate::link::segment::pass;
use crate::link::{Carried, Link, TwoLinks};
use crate::mptcp;
use crate::netns::{INTERFACES, Inside, SERVER, spawn_here};
use crate::stats::Sorted;

/// Interval between two looks at the links.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// Number of looks in a row without traffic after which the network is idle.
const IDLE_LOOKS: u32 = 2;
/// The same after a connection of Multipath TCP: longer than the pauses of a join, of 50 ms at most.
const QUIET_LOOKS: u32 = 100;
/// Upper limit of the number of looks.
const MAX_LOOKS: u32 = 5_000;
/// Round trips that one measurement of a link takes.
const PROBES: usize = 200;
/// Fewer where they take long.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// The network between the two ends.
#[derive(Clone)]
pub(super) enum Network {
    /// Namespaces and emulated links.
    Links(Arc<Links>),
    /// This host's own loopback.
    Loopback,
}

/// Two emulated links.
pub(super) struct Links {
    links: TwoLinks,
    /// The reason why the ends cannot use Multipath TCP.
    no_mptcp: Option<String>,
}

/// The end that a thread belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Client,
    Server,
}

/// Traffic in IP packets and bytes: on the primary link and on the side link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wire {
    pub(super) packets: [u64; 2],
    pub(super) bytes: [u64; 2],
}

impl Network {
    /// Two links whose delays are set later.
    pub(super) async fn emulated(seed: u64) -> Result<Self> {
        let links = TwoLinks::new([Link::default(); 2], seed).await?;
        for namespace in [&links.client, &links.server] {
            // A connection must not use metrics that an earlier one has stored.
            namespace.sysctl("net.ipv4.tcp_no_metrics_save=1")?;
            namespace.sysctl("net.ipv4.tcp_tw_reuse=1")?;
        }
        links.client.sysctl("net.ipv4.tcp_fastopen=1")?;
        // 2: takes Fast Open; 0x400: at every listener, without an option of its own.
        links.server.sysctl("net.ipv4.tcp_fastopen=1026")?;
        let prepared = mptcp::allow_exchange(&links, "userspace");
        let no_mptcp = mptcp::unavailable().or_else(|| Some(prepared.err()?.to_string()));
        Ok(Self::Links(Arc::new(Links { links, no_mptcp })))
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
            (Self::Links(both), End::Client) => both.links.client.spawn(future),
            (Self::Links(both), End::Server) => both.links.server.spawn(future),
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

    /// The reason why no connection of Multipath TCP over two links is possible; `None` where it is.
    pub(super) fn no_mptcp(&self) -> Option<String> {
        match self {
            Self::Links(both) => both.no_mptcp.clone(),
            Self::Loopback => Some("Multipath TCP over two paths takes emulated links".to_owned()),
        }
    }

    /// The side path.
    pub(super) fn side(&self) -> Result<Path> {
        match self {
            Self::Links(_) => Ok(Path::interface(INTERFACES[1])?),
            Self::Loopback => Ok(Path::system()),
        }
    }

    /// Sets the round-trip times of the links. Returns the measured times in milliseconds.
    pub(super) async fn set(&self, round_trips: [Duration; 2]) -> Result<[Sorted; 2]> {
        let mut measured = [Sorted::default(), Sorted::default()];
        let Self::Links(both) = self else {
            return Ok(measured);
        };
        let links = &both.links;
        self.set_delays(round_trips).await?;
        for (index, round_trip) in round_trips.into_iter().enumerate() {
            let fit = PROBE_TIME.as_micros() / round_trip.as_micros().max(1);
            let times = usize::try_from(fit).unwrap_or(PROBES).clamp(5, PROBES);
            let probes = links.measure(index, times).await?;
            measured[index] = Sorted::new(probes.iter().map(|probe| probe.as_secs_f64() * 1e3));
        }
        Ok(measured)
    }

    async fn set_delays(&self, round_trips: [Duration; 2]) -> Result {
        if let Self::Links(both) = self {
            for (index, round_trip) in round_trips.into_iter().enumerate() {
                both.links.set(index, Link::symmetric(round_trip)).await?;
            }
        }
        Ok(())
    }

    /// Sets the round-trip times of the links, and counts in logical time; `None` on loopback.
    pub(super) async fn logical_time(
        &self,
        round_trips: [Duration; 2],
    ) -> Result<Option<LogicalTime>> {
        let Self::Links(both) = self else {
            return Ok(None);
        };
        self.set_delays(round_trips).await?;
        Ok(Some(both.links.logical_time(round_trips)))
    }

    /// Ends the counting.
    pub(super) fn stop_logical_time(&self) {
        if let Self::Links(both) = self {
            for index in 0..2 {
                both.links.attack(index, [pass(), pass()]);
            }
        }
    }

    /// The traffic so far; zero on loopback.
    pub(super) fn wire(&self) -> Wire {
        let mut wire = Wire::default();
        if let Self::Links(both) = self {
            for index in 0..2 {
                let carried = both.links.carried(index);
                let sum = |count: fn(&Carried) -> u64| carried.iter().map(count).sum();
                wire.packets[index] = sum(|carried| carried.packets);
                wire.bytes[index] = sum(|carried| carried.bytes);
            }
        }
        wire
    }

    /// Waits until no packet is in flight and no end sends any more.
    pub(super) async fn wait_until_idle(&self) {
        self.wait_for_looks(IDLE_LOOKS).await;
    }

    /// [`wait_until_idle`](Self::wait_until_idle) for a connection of Multipath TCP, whose join pauses.
    pub(super) async fn wait_until_quiet(&self) {
        self.wait_for_looks(QUIET_LOOKS).await;
    }

    async fn wait_for_looks(&self, looks: u32) {
        let Self::Links(both) = self else {
            return sleep(LOOK_INTERVAL * looks).await;
        };
        let (mut idle, mut last) = (0, self.wire());
        for _ in 0..MAX_LOOKS {
            sleep(LOOK_INTERVAL).await;
            let now = self.wire();
            idle = if both.links.travelling() == 0 && now == last {
                idle + 1
            } else {
                0
            };
            if idle >= looks {
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
