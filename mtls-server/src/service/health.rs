//! The health of the target: whether it accepts connections.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::sync::lock;

/// The shortest time between two checks, however many connections fail.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Records whether the target accepts connections, and logs changes.
#[derive(Debug)]
pub(crate) struct Health {
    target: String,
    /// The consequence for clients while the target is down.
    consequence: &'static str,
    state: Mutex<State>,
    check_requested: Notify,
}

#[derive(Debug)]
struct State {
    /// The last result; `None` before the first check.
    last: Option<Result<(), String>>,
    since: Instant,
}

/// The target, as of the last connection to it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TargetHealth {
    /// The target's address.
    pub target: String,
    /// Whether it accepted the last connection. `None` before the first one.
    pub up: Option<bool>,
    /// The time since that changed, in seconds.
    #[serde(rename = "for_seconds", serialize_with = "as_seconds")]
    pub since: Duration,
    /// The reason why it did not accept the last connection.
    pub error: Option<String>,
}

impl Health {
    pub(crate) fn new(target: impl fmt::Display, consequence: &'static str) -> Self {
        Self {
            target: target.to_string(),
            consequence,
            state: Mutex::new(State {
                last: None,
                since: Instant::now(),
            }),
            check_requested: Notify::new(),
        }
    }

    pub(crate) fn state(&self) -> TargetHealth {
        let state = self.lock();
        TargetHealth {
            target: self.target.clone(),
            up: state.last.as_ref().map(Result::is_ok),
            since: state.since.elapsed(),
            error: state.last.clone().and_then(Result::err),
        }
    }

    /// Makes [`watch`](Self::watch) check soon: a connection failed.
    pub(crate) fn request_check(&self) {
        self.check_requested.notify_one();
    }

    /// Calls `check` every `interval`, and soon after [`request_check`](Self::request_check). Never
    /// ends; cancel safe.
    pub(crate) async fn watch<F>(&self, interval: Duration, check: impl Fn() -> F) -> Infallible
    where
        F: Future<Output = Result<(), String>>,
    {
        loop {
            self.record(check().await);
            sleep(MIN_INTERVAL.min(interval)).await;
            tokio::select! {
                () = sleep(interval.saturating_sub(MIN_INTERVAL)) => {}
                () = self.check_requested.notified() => {}
            }
        }
    }

    /// Records the result of a connection to the target, and logs a change.
    pub(crate) fn record(&self, seen: Result<(), String>) {
        let mut state = self.lock();
        let before = state.last.as_ref().map(Result::is_ok);
        let (is_change, lasted) = (before != Some(seen.is_ok()), state.since.elapsed());
        if is_change {
            state.since = Instant::now();
        }
        state.last = Some(seen.clone());
        drop(state);
        let (target, consequence) = (&self.target, self.consequence);
        match (seen, before) {
            (Err(error), _) if is_change => tracing::error!(
                "the target {target} cannot be reached: {error}; {consequence} until it can"
            ),
            (Ok(()), Some(false)) => tracing::warn!(
                "the target {target} takes connections again, after {} s",
                lasted.as_secs()
            ),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
