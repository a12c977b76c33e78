//! The verdicts of all targets, and the file that keeps them across restarts.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::observation::{Kind, Observation};

const SCHEMA: u32 = 1;
/// The number of past results of each target.
pub(super) const HISTORY: usize = 96;

/// Everything that survives a restart.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    schema: u32,
    /// The number of the next change.
    next_event: u64,
    pub(super) targets: BTreeMap<String, Target>,
    /// Changes that each receiver has not taken yet, the oldest first.
    #[serde(default)]
    pub(super) pending: BTreeMap<String, VecDeque<Value>>,
}

/// One target.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) current: Option<Observation>,
    /// The time of the last change of the verdict.
    pub(super) since: u64,
    pub(super) checks: u64,
    /// The oldest first.
    pub(super) history: VecDeque<(u64, Kind)>,
}

/// A change of a verdict.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    schema: u32,
    /// A number that grows by one with each change: a receiver can recognize repetitions.
    pub(super) event: u64,
    pub(super) unix_time: u64,
    pub(super) target: String,
    /// `None` for the first result of a target.
    pub(super) from: Option<Seen>,
    pub(super) to: Seen,
    pub(super) message: Option<String>,
    /// The JSON file of the evidence.
    pub(super) evidence: Option<String>,
}

/// A verdict in a change.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Seen {
    pub(super) verdict: Kind,
    pub(super) reason: Option<String>,
    pub(super) method: Option<String>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            schema: SCHEMA,
            next_event: 1,
            targets: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    /// Parses the contents of a file.
    ///
    /// # Errors
    /// If they are not a state of this version.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let state: Self = serde_json::from_slice(bytes)?;
        match state.schema == SCHEMA {
            true => Ok(state),
            false => Err(io::Error::other(format!("version {}", state.schema))),
        }
    }

    /// Keeps these targets, and forgets all others.
    pub(super) fn select(&mut self, targets: &[String]) {
        let mut known = std::mem::take(&mut self.targets);
        for target in targets {
            let kept = known.remove(target).unwrap_or_default();
            self.targets.insert(target.clone(), kept);
        }
    }

    /// Whether a result is a change of the verdict.
    pub(super) fn is_change(&self, target: &str, result: &Observation) -> bool {
        let before = self.targets.get(target);
        let before = before.and_then(|target| target.current.as_ref());
        !before.is_some_and(|before| before.is_same(result))
    }

    /// Adds a result, and returns the change of the verdict, if it is one.
    pub(super) fn record(&mut self, target: &str, result: Observation) -> Option<Change> {
        let is_change = self.is_change(target, &result);
        let entry = self.targets.entry(target.to_owned()).or_default();
        entry.checks = entry.checks.saturating_add(1);
        entry.history.push_back((result.unix_time, result.verdict));
        if entry.history.len() > HISTORY {
            entry.history.pop_front();
        }
        let before = entry.current.replace(result.clone());
        if !is_change {
            return None;
        }
        entry.since = result.unix_time;
        let event = self.next_event;
        self.next_event = event.saturating_add(1);
        Some(Change {
            schema: SCHEMA,
            event,
            unix_time: result.unix_time,
            target: target.to_owned(),
            from: before.as_ref().map(Seen::of),
            to: Seen::of(&result),
            message: result.message,
            evidence: None,
        })
    }
}

impl Seen {
    fn of(result: &Observation) -> Self {
        Self {
            verdict: result.verdict,
            reason: result.reason.clone(),
            method: result.method.clone(),
        }
    }
}

impl Change {
    /// Whether the verdict changed to or from verified, intercepted or suspicious.
    pub(super) fn is_notified(&self) -> bool {
        let from = self.from.as_ref().map(|from| from.verdict);
        let to = self.to.verdict;
        from != Some(to) && (to.is_notified() || from.is_some_and(Kind::is_notified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(verdict: Kind, reason: Option<&str>) -> Observation {
        Observation {
            unix_time: 7,
            verdict,
            reason: reason.map(str::to_owned),
            method: Some("side".into()),
            message: None,
            connected: Some(0.1),
            tls: None,
            decided: None,
            certificate_expiry: None,
        }
    }

    #[test]
    fn a_change_is_reported_once_and_notified_if_it_matters() {
        let mut state = State::new();
        let mut record = |verdict, reason| state.record("a:443", result(verdict, reason));
        let first = record(Kind::Verified, None).expect("a change");
        assert!(first.from.is_none() && first.is_notified());
        assert!(record(Kind::Verified, None).is_none());
        let failed = record(Kind::Error, Some("timed-out")).expect("a change");
        assert!(failed.is_notified(), "from verified");
        let other = record(Kind::Error, Some("could-not-resolve")).expect("a change");
        assert!(!other.is_notified());
        let unverified = record(Kind::Unverified, Some("no-greeting")).expect("a change");
        assert!(!unverified.is_notified());
        let last = record(Kind::Intercepted, Some("downgrade")).expect("a change");
        assert!(last.is_notified());
        let same = record(Kind::Intercepted, Some("wrong-value")).expect("a change");
        assert!(!same.is_notified(), "intercepted before");
        assert_eq!((first.event, same.event), (1, 6));
    }

    #[test]
    fn history_is_bounded() {
        let mut state = State::new();
        for _ in 0..3 * HISTORY {
            state.record("a:443", result(Kind::Verified, None));
        }
        assert_eq!(state.targets["a:443"].history.len(), HISTORY);
        assert_eq!(state.targets["a:443"].checks, 3 * HISTORY as u64);
    }

    #[test]
    fn targets_that_are_not_watched_any_more_are_forgotten() {
        let mut state = State::new();
        state.record("a:443", result(Kind::Verified, None));
        state.record("b:443", result(Kind::Verified, None));
        state.select(&["b:443".into(), "c:443".into()]);
        let names: Vec<_> = state.targets.keys().collect();
        assert_eq!(names, ["b:443", "c:443"]);
        assert_eq!(state.targets["b:443"].checks, 1);
    }
}
