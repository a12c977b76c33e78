//! Inherited verification (`docs/protocol.md`, section 12): a resumed session whose ticket descends
//! from a verified connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::PathReport;
use super::method::Method;
use crate::path::Independence;

/// The verified full handshake from which a session descends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Origin {
    /// The method that verified it: the weaker one where its side paths differed.
    pub method: Method,
    /// Its paths, as in its own verdict.
    pub paths: Vec<PathReport>,
    verified: Moment,
}

/// The verification of a resumed connection: that of its [`Origin`].
///
/// It proves that the peer holds the session of the origin, or a key that opens its tickets
/// (`docs/threat-model.md`). No side path has seen this very handshake.
#[derive(Clone, Debug)]
pub struct Inheritance {
    origin: Arc<Origin>,
    age: Duration,
}

/// A moment by two clocks. The monotonic one stands still while the machine sleeps, and the other
/// one can be set back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    wall: SystemTime,
    monotonic: Instant,
}

impl Origin {
    /// The origin that is verified now.
    pub(crate) fn now(method: Method, paths: Vec<PathReport>) -> Self {
        Self::at(Moment::now(), method, paths)
    }

    /// The origin that was verified at `verified`.
    pub(crate) fn at(verified: Moment, method: Method, paths: Vec<PathReport>) -> Self {
        Self {
            method,
            paths,
            verified,
        }
    }

    /// The time of the verification, by the system's clock.
    pub fn time(&self) -> SystemTime {
        self.verified.wall
    }

    /// The time that has passed since: the longer one of that by the system's clock and that by the
    /// monotonic clock.
    pub fn age(&self) -> Duration {
        self.verified.age()
    }

    /// The weakest independence of any side path of the origin from its primary path.
    pub fn independence(&self) -> Independence {
        let sides = self.paths.iter().filter_map(PathReport::independence);
        Independence::weakest(sides)
    }
}

impl Inheritance {
    pub(crate) fn of(origin: Arc<Origin>) -> Self {
        Self {
            age: origin.age(),
            origin,
        }
    }

    /// The verified connection.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The age of the origin when this connection was evaluated.
    pub fn age(&self) -> Duration {
        self.age
    }

    pub(crate) fn shared_origin(&self) -> Arc<Origin> {
        Arc::clone(&self.origin)
    }
}

/// Two inheritances are equal if they have one origin.
impl PartialEq for Inheritance {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.origin, &other.origin)
    }
}

impl Eq for Inheritance {}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        }
    }

    pub(crate) fn age(&self) -> Duration {
        // A clock that was set back shows nothing; the monotonic one remains.
        let by_wall = self.wall.elapsed().unwrap_or_default();
        self.monotonic.elapsed().max(by_wall)
    }
}

impl Serialize for Origin {
    /// `{"unix_time", "method", "independence", "paths"}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            unix_time: u64,
            method: Method,
            independence: Independence,
            paths: &'a [PathReport],
        }
        let since = self.time().duration_since(UNIX_EPOCH);
        Fields {
            unix_time: since.unwrap_or_default().as_secs(),
            method: self.method,
            independence: self.independence(),
            paths: &self.paths,
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[tokio::test(start_paused = true)]
    async fn an_age_counts_by_the_monotonic_clock_when_the_system_clock_was_set_back() {
        let later = SystemTime::now() + hours(100);
        let moment = Moment {
            wall: later,
            ..Moment::now()
        };
        tokio::time::advance(hours(3)).await;
        assert_eq!(moment.age(), hours(3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_age_counts_by_the_system_clock_when_the_machine_slept() {
        let moment = Moment {
            wall: SystemTime::now() - hours(5),
            ..Moment::now()
        };
        assert!(moment.age() >= hours(5));
    }
}
