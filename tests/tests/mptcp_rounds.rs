//! The round trips until a connection over Multipath TCP is verified, in logical time between real
//! kernels: the clock of the machine is compared with nothing.

use std::net::SocketAddr;
use std::time::Duration;

use mtls_core::path::{Path, SubflowSource};
use mtls_core::{ClientSettings, Policy};
use mtls_lab::link::logical::{Kind, LogicalTime, Step};
use mtls_lab::link::{Link, TwoLinks};
use mtls_lab::mptcp::{self, allow_exchange};
use mtls_lab::netns::{INTERFACES, SERVER};
use mtls_lab::{Result, Setup, Victim, World};
use tokio::sync::oneshot;

/// Round trips of the first and the second link in milliseconds: equal, and each one slower. They are
/// longer than any computation, which must not change the order of the packets.
const ROUND_TRIPS: [[u64; 2]; 3] = [[80, 80], [80, 200], [200, 80]];

/// A way to verify a connection over Multipath TCP.
#[derive(Clone, Copy)]
enum Way {
    /// The side exchange inside the connection.
    Inside,
    /// A fast-open side connection; the subflow joins afterwards.
    Joined,
}

impl Way {
    fn client(self, world: &World) -> Result<Victim> {
        let side = match self {
            Self::Inside => Path::subflow(second())?,
            Self::Joined => Path::interface(INTERFACES[1])?.fast_open(true),
        };
        let victim = world.victim_of(address())?.smkex();
        Ok(victim
            .primary_by(Path::system().mptcp(true))
            .side_by(side, address()))
    }

    fn settings(self, client: &Victim) -> ClientSettings {
        let settings = client.settings(Policy::Require);
        match self {
            Self::Inside => settings,
            Self::Joined => settings.join(second()),
        }
    }

    /// Connects once; returns the client's clock at the verdict, and the packets until a subflow is
    /// established.
    async fn connect(self, client: &Victim, time: &LogicalTime) -> Result<(Duration, Vec<Step>)> {
        time.restart();
        let connector = client.connector_with(self.settings(client))?.build()?;
        let stream = connector.connect(&client.target()).await?;
        let clock = time.client();
        assert!(stream.verdict().verified().is_some());
        let is_established = || time.steps().iter().any(|step| step.kind == Kind::JoinEnd);
        mtls_lab::eventually("a subflow has joined", is_established).await?;
        Ok((clock, time.steps()))
    }

    /// The second of two connections over such links: the first one gets the cookie of Fast Open.
    async fn run(self, round_trips: [Duration; 2]) -> Result<(Duration, Vec<Step>)> {
        let links = TwoLinks::new(round_trips.map(Link::symmetric), 1).await?;
        allow_exchange(&links, "userspace")?;
        links.client.sysctl("net.ipv4.tcp_fastopen=1")?;
        links.server.sysctl("net.ipv4.tcp_fastopen=1026")?;
        let world = World::new()?;
        let client = self.client(&world)?;
        let (up, is_up) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = links.server.spawn(move || async move {
            let setup = Setup::smkex().mptcp();
            let _server = world.serve_at(address(), setup).await?;
            let _ = up.send(());
            let _ = stopped.await;
            Ok(())
        })?;
        is_up.await?;
        let time = links.logical_time(round_trips);
        let connecting = links.client.spawn(move || async move {
            self.connect(&client, &time).await?;
            self.connect(&client, &time).await
        })?;
        let counted = connecting.join().await;
        let _ = stop.send(());
        server.join().await?;
        counted
    }
}

fn second() -> SubflowSource {
    SubflowSource::Interface(INTERFACES[1].to_owned())
}

fn address() -> SocketAddr {
    SocketAddr::new(SERVER, 443)
}

/// A kind of packet from the client (`true`) or to it, and the time at which it leaves.
type Timed = (Kind, bool, Duration);

/// The packets on a link before this time. Those of one kind that leave together are one.
fn on_link(steps: &[Step], link: usize, end: Duration) -> Vec<Timed> {
    let is_counted = |step: &&Step| {
        // The first data of the server carry it, or it leaves at the same time.
        step.link == link && step.at < end && step.kind != Kind::DataAck
    };
    let steps = steps.iter().filter(is_counted);
    let mut found: Vec<Timed> = steps.map(|step| (step.kind, step.up, step.at)).collect();
    found.dedup();
    // The client repeats MP_PRIO while it has no answer, by the clock of the machine.
    let mut is_repeated = false;
    found
        .retain(|(kind, ..)| *kind != Kind::Priority || !std::mem::replace(&mut is_repeated, true));
    found
}

/// The values that a test compares.
#[derive(Debug, PartialEq)]
struct Counted {
    clock: Duration,
    /// The packets on each link.
    links: [Vec<Timed>; 2],
    /// The second subflow joins before the verdict.
    joins_first: bool,
}

fn joins_before(clock: Duration, steps: &[Step]) -> bool {
    let join = steps.iter().find(|step| step.kind == Kind::JoinSyn);
    join.is_some_and(|join| join.at < clock)
}

/// Compares each of the round trips. A machine that stalls for longer than a packet travels changes the
/// order of the packets, so it has some tries: no stall makes the order right.
async fn expect(
    way: Way,
    expected: impl Fn([Duration; 2]) -> Counted,
    count: impl Fn([Duration; 2], Duration, &[Step]) -> Counted,
) -> Result {
    const TRIES: usize = 5;
    for round_trips in ROUND_TRIPS.map(|pair| pair.map(Duration::from_millis)) {
        let expected = expected(round_trips);
        let mut found = None;
        for _ in 0..TRIES {
            let (clock, steps) = way.run(round_trips).await?;
            found = Some(count(round_trips, clock, &steps));
            if found.as_ref() == Some(&expected) {
                break;
            }
        }
        assert_eq!(found, Some(expected), "{round_trips:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_exchange_inside_the_connection_adds_four_round_trips_of_the_second_subflow() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let expected = |[p, s]: [Duration; 2]| {
        let (secure, established) = (2 * p, 2 * p + 2 * s);
        // MP_PRIO has directed the server, and the Open has arrived.
        let proof = established + s.max(p) / 2;
        let confirm = proof + s / 2;
        let first = vec![
            (Kind::Syn, true, Duration::ZERO),
            (Kind::Syn, false, p / 2),
            (Kind::Data, true, p),
            (Kind::Data, false, 3 * p / 2),
            (Kind::Data, true, secure),
            (Kind::Priority, true, established),
        ];
        let second = vec![
            (Kind::JoinSyn, true, secure),
            (Kind::JoinSyn, false, secure + s / 2),
            (Kind::JoinAck, true, secure + s),
            (Kind::JoinEnd, false, secure + 3 * s / 2),
            (Kind::Priority, true, established),
            (Kind::Data, true, established),
            (Kind::Data, false, proof),
            (Kind::Data, true, confirm),
            (Kind::Data, false, confirm + s / 2),
        ];
        Counted {
            clock: confirm + s,
            links: [first, second],
            joins_first: true,
        }
    };
    let count = |_: [Duration; 2], clock: Duration, steps: &[Step]| Counted {
        clock,
        links: [0, 1].map(|link| on_link(steps, link, clock)),
        joins_first: joins_before(clock, steps),
    };
    expect(Way::Inside, expected, count).await
}

#[tokio::test]
async fn a_fast_open_side_connection_adds_no_round_trip_and_the_subflow_joins_after_it() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let expected = |[p, s]: [Duration; 2]| {
        let proof = 3 * p / 2;
        let first = vec![
            (Kind::Syn, true, Duration::ZERO),
            (Kind::Syn, false, p / 2),
            (Kind::Data, true, p),
            (Kind::Data, false, proof),
        ];
        let second = vec![
            (Kind::Syn, true, Duration::ZERO),
            (Kind::Syn, false, s / 2),
            // The greeting, and the Proof when the ClientHello is there.
            (Kind::Data, false, s / 2),
            (Kind::Data, false, proof),
        ];
        Counted {
            clock: (2 * p).max(proof + s / 2),
            links: [first, second],
            joins_first: false,
        }
    };
    let count = |[p, _]: [Duration; 2], clock: Duration, steps: &[Step]| {
        // The client's further frames wait for the SYN-ACK, and no end waits for them.
        let mut second = on_link(steps, 1, clock);
        second.truncate(4);
        Counted {
            clock,
            links: [on_link(steps, 0, 2 * p), second],
            joins_first: joins_before(clock, steps),
        }
    };
    expect(Way::Joined, expected, count).await
}
