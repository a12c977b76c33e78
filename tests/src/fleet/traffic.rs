//! Clients, and a man in the middle in front of some of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mtls_core::{Error, Policy};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::processes::Fleet;
use crate::stats::Sorted;
use crate::victim::get_page;
use crate::{Result, Victim};

/// Of so many connections one is attacked.
const ATTACKED: u32 = 20;
/// The default of clients, where a part of the fleet fails.
const DEADLINE: Duration = Duration::from_secs(3);
/// More than a verification takes, where none does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Clients that make a number of connections.
pub(super) struct Clients {
    honest: Victim,
    attacked: Victim,
    count: u32,
    begun: AtomicU32,
    pause: Duration,
    deadline: Duration,
}

/// The running clients.
pub(super) struct Traffic(JoinSet<Result<Tally>>);

/// Counts of connections by their results.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tally {
    pub(super) verified: u32,
    /// Under `prefer` the client went on without verification.
    pub(super) unverified: u32,
    /// No connection, or one that the policy refused.
    pub(super) refused: u32,
    /// An honest client reported an interception.
    pub(super) false_alarms: u32,
    /// A client took the attacker for the server, or the server an unverified client for a
    /// verified one.
    pub(super) wrong_verdicts: u32,
    /// Of the verified: the server, under `prefer`, answered before it heard of the verification.
    pub(super) verified_by_client_only: u32,
    pub(super) attacks_detected: u32,
    /// The client did not report the attack, because the fleet was not certain.
    pub(super) attacks_not_certain: u32,
    #[serde(skip)]
    times_ms: Vec<f64>,
}

impl Clients {
    pub(super) fn new(fleet: &Fleet, count: u32, pause: Duration) -> Result<Self> {
        let honest = fleet.world.victim_of(fleet.address())?;
        let attacked = honest.clone().primary_to(fleet.attacker());
        Ok(Self {
            honest,
            attacked,
            count,
            begun: AtomicU32::new(0),
            pause,
            deadline: if pause.is_zero() { PATIENCE } else { DEADLINE },
        })
    }

    /// Starts so many clients at a time.
    pub(super) fn start(self: &Arc<Self>, clients: u32) -> Traffic {
        let run = |_| {
            let clients = Arc::clone(self);
            async move { clients.run().await }
        };
        Traffic((0..clients).map(run).collect())
    }

    /// Waits until so many connections have begun.
    pub(super) async fn until_begun(&self, count: u32) {
        while self.begun.load(Ordering::Relaxed) < count {
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn run(&self) -> Result<Tally> {
        let mut tally = Tally::default();
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.count {
                return Ok(tally);
            }
            // Both policies meet both kinds of connections.
            let policy = match number / ATTACKED % 2 {
                0 => Policy::Require,
                _ => Policy::Prefer,
            };
            match number % ATTACKED {
                0 => self.connect_attacked(policy, &mut tally).await?,
                _ => self.connect(policy, &mut tally).await?,
            }
            sleep(self.pause).await;
        }
    }

    async fn connect(&self, policy: Policy, tally: &mut Tally) -> Result {
        let started = Instant::now();
        let connected = connect(&self.honest, policy, self.deadline).await?;
        tally.times_ms.push(started.elapsed().as_secs_f64() * 1e3);
        let (by_client, stream) = match connected {
            Ok(stream) => (stream.verdict().verified().is_some(), stream),
            Err(Error::Interception(_)) => {
                tally.false_alarms += 1;
                return Ok(());
            }
            Err(_) => {
                tally.refused += 1;
                return Ok(());
            }
        };
        let Ok(response) = get_page(stream).await else {
            // The machine was killed meanwhile.
            tally.refused += 1;
            return Ok(());
        };
        match (by_client, server_verified(&response)) {
            (true, true) => tally.verified += 1,
            (true, false) => {
                tally.verified += 1;
                tally.verified_by_client_only += 1;
            }
            (false, true) => tally.wrong_verdicts += 1,
            (false, false) => tally.unverified += 1,
        }
        Ok(())
    }

    async fn connect_attacked(&self, policy: Policy, tally: &mut Tally) -> Result {
        match connect(&self.attacked, policy, self.deadline).await? {
            Err(Error::Interception(_)) => tally.attacks_detected += 1,
            Ok(stream) if stream.verdict().verified().is_some() => tally.wrong_verdicts += 1,
            _ => tally.attacks_not_certain += 1,
        }
        Ok(())
    }
}

type Connected = Result<mtls_core::ClientStream<tokio::net::TcpStream>, Error>;

/// With a connector of its own, so that no side connection is shared.
async fn connect(victim: &Victim, policy: Policy, deadline: Duration) -> Result<Connected> {
    let settings = victim.settings(policy).deadline(deadline);
    let connector = victim.connector_with(settings)?.build()?;
    Ok(connector.connect(&victim.target()).await)
}

/// The server's own verdict on the connection.
fn server_verified(response: &str) -> bool {
    let fields = response.lines().filter_map(|line| line.split_once(':'));
    let mut verdicts = fields.filter(|(name, _)| name.eq_ignore_ascii_case("multipath-verdict"));
    verdicts.any(|(_, value)| value.trim_start().starts_with("verified"))
}

impl Traffic {
    /// Waits for all clients.
    pub(super) async fn join(mut self) -> Result<Tally> {
        let mut all = Tally::default();
        while let Some(tally) = self.0.join_next().await {
            all.add(tally??);
        }
        Ok(all)
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.verified += other.verified;
        self.unverified += other.unverified;
        self.refused += other.refused;
        self.false_alarms += other.false_alarms;
        self.wrong_verdicts += other.wrong_verdicts;
        self.verified_by_client_only += other.verified_by_client_only;
        self.attacks_detected += other.attacks_detected;
        self.attacks_not_certain += other.attacks_not_certain;
        self.times_ms.extend(other.times_ms);
    }

    /// The times of connection setup of honest clients, in milliseconds.
    pub(super) fn times(&self) -> Sorted {
        Sorted::new(self.times_ms.iter().copied())
    }

    /// Is every honest client verified, and every attack detected?
    pub(super) fn is_all_verified(&self) -> bool {
        let others = [
            self.unverified,
            self.refused,
            self.false_alarms,
            self.wrong_verdicts,
            self.attacks_not_certain,
        ];
        others == [0; 5] && self.verified > 0 && self.attacks_detected > 0
    }
}
