//! Whether the target takes connections.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use tokio::sync::Notify;
use tokio::time::sleep;

/// The least time between two looks, however many connections fail.
const PAUSE: Duration = Duration::from_secs(1);

/// Notes whether the target takes connections, and logs when that changes.
#[derive(Debug)]
pub(crate) struct Health {
    target: String,
    /// What it means for clients that the target is down.
    consequence: &'static str,
    state: Mutex<State>,
    doubt: Notify,
}

#[derive(Debug)]
struct State {
    /// `None` before the first look.
    seen: Option<Result<(), String>>,
    since: Instant,
}

/// The target, as of the last connection to it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TargetHealth {
    /// The target's address.
    pub target: String,
    /// Whether it took the last connection. `None`: none was made yet.
    pub up: Option<bool>,
    /// For how long that has been so, in seconds.
    #[serde(rename = "for_seconds", serialize_with = "as_seconds")]
    pub since: Duration,
    /// Why it did not take the last connection.
    pub error: Option<String>,
}

impl Health {
    pub(crate) fn new(target: impl fmt::Display, consequence: &'static str) -> Self {
        Self {
            target: target.to_string(),
            consequence,
            state: Mutex::new(State {
                seen: None,
                since: Instant::now(),
            }),
            doubt: Notify::new(),
        }
    }

    pub(crate) fn state(&self) -> TargetHealth {
        let state = self.lock();
        TargetHealth {
            target: self.target.clone(),
            up: state.seen.as_ref().map(Result::is_ok),
            since: state.since.elapsed(),
            error: state.seen.clone().and_then(Result::err),
        }
    }

    /// Makes [`watch`](Self::watch) look soon: a connection failed.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Calls `look` every `interval`, and soon after a [`doubt`](Self::doubt); never ends, safe to
    /// drop.
    pub(crate) async fn watch<F>(&self, interval: Duration, look: impl Fn() -> F) -> Infallible
    where
        F: Future<Output = Result<(), String>>,
    {
        loop {
            self.note(look().await);
            sleep(PAUSE.min(interval)).await;
            tokio::select! {
                () = sleep(interval.saturating_sub(PAUSE)) => {}
                () = self.doubt.notified() => {}
            }
        }
    }

    /// Notes what came of a connection to the target, and logs it where it is news.
    pub(crate) fn note(&self, seen: Result<(), String>) {
        let mut state = self.lock();
        let before = state.seen.as_ref().map(Result::is_ok);
        let (news, lasted) = (before != Some(seen.is_ok()), state.since.elapsed());
        if news {
            state.since = Instant::now();
        }
        state.seen = Some(seen.clone());
        drop(state);
        let (target, consequence) = (&self.target, self.consequence);
        match (seen, before) {
            (Err(error), _) if news => tracing::error!(
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
