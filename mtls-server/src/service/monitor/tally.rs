//! Counters by labels that can be listed, as those of `prometheus_client` cannot.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Mutex;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::sync::lock;

/// A counter for each set of labels that has occurred. Labels are fixed words, so their number is
/// bounded.
#[derive(Debug)]
pub(super) struct Tally<L> {
    family: Family<L, Counter>,
    seen: Mutex<BTreeSet<L>>,
}

impl<L: Clone + Eq + Hash + Ord> Tally<L> {
    pub(super) fn new() -> Self {
        Self {
            family: Family::default(),
            seen: Mutex::new(BTreeSet::new()),
        }
    }

    /// The family for the registry of `prometheus_client`.
    pub(super) fn family(&self) -> Family<L, Counter> {
        self.family.clone()
    }

    pub(super) fn count(&self, labels: L) {
        if let Some(counter) = self.family.get(&labels) {
            counter.inc();
            return;
        }
        self.family.get_or_create(&labels).inc();
        lock(&self.seen).insert(labels);
    }

    /// All counters, in order.
    pub(super) fn list(&self) -> Vec<(L, u64)> {
        let seen = lock(&self.seen);
        seen.iter()
            .map(|labels| {
                let count = self.family.get(labels).map_or(0, |counter| counter.get());
                (labels.clone(), count)
            })
            .collect()
    }
}
