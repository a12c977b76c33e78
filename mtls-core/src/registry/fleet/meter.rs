//! An engine, and counts of what it is used for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::engine::{Engine, EngineError, Operation};
use crate::sync::lock;

/// Upper bounds of the latency histogram; a last bucket takes the rest.
pub const LATENCY_BOUNDS: [Duration; 8] = [
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
];

/// An engine with its meter.
#[derive(Debug)]
pub(super) struct Metered<E> {
    pub(super) engine: E,
    /// Heartbeats sent to it.
    pub(super) beats: AtomicU64,
    operations: AtomicU64,
    errors: AtomicU64,
    latency: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    latency_micros: AtomicU64,
    last_error: Mutex<Option<EngineError>>,
}

/// The state and the counts of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStatus {
    /// Can operations succeed?
    pub connected: bool,
    /// The reason, or the error of the last operation that failed since one succeeded.
    pub problem: Option<EngineError>,
    /// Operations that have ended.
    pub operations: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Operations by duration, within [`LATENCY_BOUNDS`] and beyond; not cumulative.
    pub latency: [u64; LATENCY_BOUNDS.len() + 1],
    /// The sum of all durations.
    pub latency_sum: Duration,
}

impl<E: Engine> Metered<E> {
    pub(super) fn new(engine: E) -> Self {
        Self {
            engine,
            beats: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            latency: Default::default(),
            latency_micros: AtomicU64::new(0),
            last_error: Mutex::default(),
        }
    }

    /// Runs an operation and counts it.
    pub(super) async fn run<T>(&self, operation: Operation<'_, T>) -> Result<T, EngineError> {
        let started = Instant::now();
        let result = operation.await;
        let took = started.elapsed();
        let count = |counter: &AtomicU64, by| counter.fetch_add(by, Ordering::Relaxed);
        count(&self.operations, 1);
        let bucket = LATENCY_BOUNDS.iter().position(|bound| took <= *bound);
        count(&self.latency[bucket.unwrap_or(LATENCY_BOUNDS.len())], 1);
        count(
            &self.latency_micros,
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        );
        if let Err(error) = &result {
            count(&self.errors, 1);
            tracing::debug!(%error, "engine operation failed");
        }
        *self.last_error() = result.as_ref().err().cloned();
        result
    }

    fn last_error(&self) -> MutexGuard<'_, Option<EngineError>> {
        lock(&self.last_error)
    }

    pub(super) fn status(&self) -> EngineStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineStatus {
            connected: self.engine.connected(),
            problem: self.engine.problem().or_else(|| self.last_error().clone()),
            operations: read(&self.operations),
            errors: read(&self.errors),
            latency: std::array::from_fn(|bucket| read(&self.latency[bucket])),
            latency_sum: Duration::from_micros(read(&self.latency_micros)),
        }
    }
}
