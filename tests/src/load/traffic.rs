//! How many connections, how fast, and what became of them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::stats::Sorted;

/// Faults of one kind that are kept word for word; the others are counted.
const KEPT: usize = 5;

/// The number of connections and the time between two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    After(u32),
    At(Instant),
}

impl Pace {
    /// So many connections each second, and none yet.
    pub(crate) fn per_second(rate: NonZeroU32) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate.get(),
            end: End::After(0),
        }
    }

    pub(crate) fn count(self, connections: u32) -> Self {
        let end = End::After(connections);
        Self { end, ..self }
    }

    pub(crate) fn until(self, end: Instant) -> Self {
        let end = End::At(end);
        Self { end, ..self }
    }

    /// Whether another connection is due after this number of them.
    pub(crate) fn goes_on(&self, begun: u32) -> bool {
        match self.end {
            End::After(count) => begun < count,
            End::At(end) => Instant::now() < end,
        }
    }
}

/// The result of one connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Both ends have the right verdict, and the response is complete.
    Right(Duration),
    /// No response.
    Lost(String),
    /// A verdict of either end is wrong.
    Wrong(String),
}

/// The results of connections of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) right: u64,
    pub(crate) lost: u64,
    pub(crate) wrong: u64,
    /// Some of the reasons.
    pub(crate) faults: Vec<String>,
    times_ms: Vec<f64>,
}

/// The results by the names of the kinds.
pub(crate) type Tallies = BTreeMap<String, Tally>;

impl Tally {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        let fault = match outcome {
            Outcome::Right(time) => {
                self.right += 1;
                self.times_ms.push(time.as_secs_f64() * 1e3);
                return;
            }
            Outcome::Lost(why) => {
                self.lost += 1;
                why
            }
            Outcome::Wrong(why) => {
                self.wrong += 1;
                why
            }
        };
        if self.faults.len() < KEPT {
            self.faults.push(fault);
        }
    }

    /// Adds the results of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.right += other.right;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.times_ms.extend(&other.times_ms);
        self.faults.extend_from_slice(&other.faults);
        self.faults.truncate(KEPT);
    }

    pub(crate) fn times(&self) -> Sorted {
        Sorted::new(self.times_ms.iter().copied())
    }
}
