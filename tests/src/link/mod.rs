//! Emulated links between network namespaces, of this process alone: no kernel module is needed.
//!
//! ```text
//!   client namespace                 this process                  server namespace
//!   path0 (a TUN device) ──► packets wait, are lost, travel ──► path0 (a TUN device)
//!   path1 (a TUN device) ──► each direction with settings  ──► path1 (a TUN device)
//! ```
//!
//! One thread carries everything. It sleeps by the kernel's high-resolution timers and spends the
//! last microseconds before a packet is due awake, so that a packet comes out never early and, on
//! a quiet machine, some microseconds late. A round trip takes longer than the two delays, by the
//! cost of the kernel and of waking up: [`TwoLinks::measure`] measures the difference, and nothing
//! here assumes it.

mod emulator;
pub mod logical;
mod pipe;
pub mod segment;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, SyncDevice};

use emulator::Direction;
use logical::LogicalTime;

pub use emulator::{Attack, Carried, Emulator, Sent};
pub use pipe::{LinkSettings, Pipe, PushOutcome};

use crate::Result;
use crate::netns::{INTERFACES, Namespace, SERVER};

/// A port at which no program listens (`discard`).
const CLOSED: u16 = 9;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The settings of both directions of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// From the client.
    pub up: LinkSettings,
    /// To the client.
    pub down: LinkSettings,
}

impl Link {
    /// The same both ways, with half of this round trip for each.
    #[must_use]
    pub fn symmetric(round_trip: Duration) -> Self {
        Self::both(LinkSettings {
            delay: round_trip / 2,
            ..LinkSettings::default()
        })
    }

    /// The same both ways.
    #[must_use]
    pub fn both(settings: LinkSettings) -> Self {
        Self {
            up: settings,
            down: settings,
        }
    }
}

/// A client and a server, each in a namespace, with two emulated links between them.
///
/// The client's interfaces are [`INTERFACES`]; the server is at [`SERVER`], which both lead to;
/// the first is where the client's routes lead.
#[derive(Debug)]
pub struct TwoLinks {
    /// Ends before the namespaces do.
    emulator: Emulator,
    /// The namespace of the client.
    pub client: Namespace,
    /// The namespace of the server.
    pub server: Namespace,
}

impl TwoLinks {
    /// Makes both. The seed decides which packets a lossy link loses.
    ///
    /// # Errors
    /// Errors of the system or of `ip`; see [`netns::unavailable`](crate::netns::unavailable).
    pub async fn new(links: [Link; 2], seed: u64) -> Result<Self> {
        let client = Namespace::new()?;
        let server = Namespace::new()?;
        for namespace in [&client, &server] {
            // Answers over the second link come from where the first one leads, too.
            namespace.sysctl("net.ipv4.conf.all.rp_filter=2")?;
            // No host sends announcements; where there is no IPv6 this fails, and is not needed.
            let _ = namespace.sysctl("net.ipv6.conf.all.disable_ipv6=1");
            let _ = namespace.sysctl("net.ipv6.conf.default.disable_ipv6=1");
        }
        server.ip(&format!("addr add {SERVER}/32 dev lo"))?;
        let mut directions = Vec::new();
        for (index, link) in links.iter().enumerate() {
            let near = device(&client, index).await?;
            let far = device(&server, index).await?;
            configure(index, &client, &server)?;
            directions.push(Direction {
                from: Arc::clone(&near),
                to: Arc::clone(&far),
                settings: link.up,
            });
            directions.push(Direction {
                from: far,
                to: near,
                settings: link.down,
            });
        }
        let emulator = Emulator::start(directions, seed)?;
        Ok(Self {
            emulator,
            client,
            server,
        })
    }

    /// Changes a link; on return the change is in force.
    ///
    /// # Errors
    /// When it is not within seconds: the emulator has ended.
    pub async fn set(&self, index: usize, link: Link) -> Result {
        self.emulator.set(2 * index, link.up);
        self.emulator.set(2 * index + 1, link.down);
        crate::eventually("the links take their settings", || {
            self.emulator.is_settled()
        })
        .await
    }

    /// Puts an attacker on a link: the first one takes packets from the client, the second one those to
    /// it.
    pub fn attack(&self, index: usize, [up, down]: [Attack; 2]) {
        self.emulator.attack(2 * index, up);
        self.emulator.attack(2 * index + 1, down);
    }

    /// Counts the round trips of exchanges in [logical time](logical), in place of an attacker. The links
    /// must have these round-trip times.
    #[must_use]
    pub fn logical_time(&self, round_trips: [Duration; 2]) -> LogicalTime {
        LogicalTime::start(self, round_trips)
    }

    /// The traffic that the link has carried from the client, and to it.
    #[must_use]
    pub fn carried(&self, index: usize) -> [Carried; 2] {
        [2 * index, 2 * index + 1].map(|direction| self.emulator.carried(direction))
    }

    /// How many packets are on their way, on both links.
    #[must_use]
    pub fn travelling(&self) -> usize {
        self.emulator.travelling()
    }

    /// Measures round trips over a link: so many times from a SYN to a closed port until
    /// the reset is there. Neither end has a program in it but the one that measures.
    ///
    /// # Errors
    /// When the link gives no answer, as one that loses packets may not.
    pub async fn measure(&self, index: usize, times: usize) -> Result<Vec<Duration>> {
        let measured = self.client.spawn(move || async move {
            (0..times).map(|_| refused(index)).collect::<Result<_>>()
        })?;
        measured.join().await
    }
}

/// The time that a refusal takes.
fn refused(index: usize) -> Result<Duration> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind_device(Some(INTERFACES[index].as_bytes()))?;
    let closed = SocketAddr::new(SERVER, CLOSED).into();
    let started = Instant::now();
    match socket.connect_timeout(&closed, PATIENCE) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Ok(started.elapsed())
        }
        Err(error) => Err(error.into()),
        Ok(()) => Err(format!("a program listens at port {CLOSED}").into()),
    }
}

/// A TUN device in a namespace; it goes with its last owner.
async fn device(namespace: &Namespace, index: usize) -> Result<Arc<SyncDevice>> {
    let make = move || async move {
        let device = DeviceBuilder::new()
            .name(INTERFACES[index])
            .enable(false)
            .build_sync()?;
        Ok(Arc::new(device))
    };
    namespace.spawn(make)?.join().await
}

fn configure(index: usize, client: &Namespace, server: &Namespace) -> Result {
    let name = INTERFACES[index];
    let address = |end: u8| IpAddr::from([10, index as u8, end, 2]);
    let (near, far) = (address(1), address(2));
    client.ip(&format!("addr add {near} peer {far} dev {name}"))?;
    server.ip(&format!("addr add {far} peer {near} dev {name}"))?;
    client.ip(&format!("link set {name} up"))?;
    server.ip(&format!("link set {name} up"))?;
    let metric = 100 + index;
    client.ip(&format!(
        "route add {SERVER}/32 dev {name} src {near} metric {metric}"
    ))
}
