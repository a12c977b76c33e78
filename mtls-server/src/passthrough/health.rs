//! Whether the target takes connections.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mtls_core::path::{Dial, Endpoint, Path};
use serde::{Serialize, Serializer};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::sleep;

/// The least time between two looks, however many tunnels fail.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks at the target from time to time, and at once when a tunnel has not reached it.
#[derive(Debug)]
pub(super) struct Health {
    target: Endpoint,
    path: Path,
    interval: Duration,
    /// What a connection has to begin with.
    greeting: Option<Vec<u8>>,
    state: Mutex<State>,
    doubt: Notify,
}

#[derive(Debug)]
struct State {
    /// `None` before the first look.
    seen: Option<Result<(), String>>,
    since: Instant,
}

/// The target, as of the last look.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TargetHealth {
    /// The target's address.
    #[serde(serialize_with = "as_text")]
    pub target: Endpoint,
    /// It took the last connection. `None`: nobody has looked yet.
    pub up: Option<bool>,
    /// For how long that has been so, in seconds.
    #[serde(rename = "for_seconds", serialize_with = "as_seconds")]
    pub since: Duration,
    /// Why it did not take the last connection.
    pub error: Option<String>,
}

impl Health {
    pub(super) fn new(
        target: Endpoint,
        path: Path,
        interval: Duration,
        greeting: Option<Vec<u8>>,
    ) -> Self {
        Self {
            target,
            path,
            interval,
            greeting,
            state: Mutex::new(State {
                seen: None,
                since: Instant::now(),
            }),
            doubt: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> TargetHealth {
        let state = self.lock();
        TargetHealth {
            target: self.target.clone(),
            up: state.seen.as_ref().map(Result::is_ok),
            since: state.since.elapsed(),
            error: state.seen.clone().and_then(Result::err),
        }
    }

    /// A tunnel has not reached the target: look soon.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Looks for ever; safe to drop.
    pub(super) async fn watch(&self) -> Infallible {
        loop {
            let looked = self.look().await;
            self.note(looked);
            sleep(PAUSE.min(self.interval)).await;
            tokio::select! {
                () = sleep(self.interval.saturating_sub(PAUSE)) => {}
                () = self.doubt.notified() => {}
            }
        }
    }

    async fn look(&self) -> Result<(), String> {
        let dialed = self.path.dial(&self.target).await;
        let mut stream = dialed.map_err(|error| error.reason.to_string())?.stream;
        if let Some(greeting) = &self.greeting {
            let greeted = stream.write_all(greeting).await;
            greeted.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Remembers what was seen, and says so where it is news.
    fn note(&self, looked: Result<(), String>) {
        let mut state = self.lock();
        let before = state.seen.as_ref().map(Result::is_ok);
        let (news, lasted) = (before != Some(looked.is_ok()), state.since.elapsed());
        if news {
            state.since = Instant::now();
        }
        state.seen = Some(looked.clone());
        drop(state);
        let target = &self.target;
        match (looked, before) {
            (Err(error), _) if news => tracing::warn!(
                "the target {target} cannot be reached: {error}; clients are turned away until it \
                 can, and side connections are answered all the time"
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

fn as_text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
