//! Durations that can be averaged, as a histogram of `prometheus_client` cannot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use serde_json::{Value, json};

/// A histogram from 100 microseconds to 13 seconds, with its mean.
#[derive(Debug)]
pub(super) struct Times {
    histogram: Histogram,
    count: AtomicU64,
    /// In microseconds: enough for half a million years.
    sum: AtomicU64,
}

impl Times {
    pub(super) fn new() -> Self {
        Self {
            histogram: Histogram::new(exponential_buckets(1e-4, 2.0, 18)),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// The histogram for the registry of `prometheus_client`.
    pub(super) fn histogram(&self) -> Histogram {
        self.histogram.clone()
    }

    pub(super) fn observe(&self, time: Duration) {
        self.histogram.observe(time.as_secs_f64());
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(microseconds, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of durations, and their mean in milliseconds.
    pub(super) fn summary(&self) -> Value {
        let count = self.count.load(Ordering::Relaxed);
        let mean_us = self.sum.load(Ordering::Relaxed).checked_div(count);
        json!({ "count": count, "mean_ms": mean_us.map(|mean| mean as f64 / 1e3) })
    }
}
