//! The connections that the page shows: those that are open, and the last that are over.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mtls_core::relay::{TunnelMonitor, TunnelReport};
use serde::Serialize;

use super::certificates::Presented;
use super::explanation::{Kind, Words, words};
use super::request::Protocol;

/// What is known of connections. Bounded: of those that are over the last N stay, and besides
/// them the last N interceptions, so that nobody can push one out by noise.
#[derive(Debug)]
pub(crate) struct History {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Rises with each change.
    version: u64,
    records: BTreeMap<u64, Record>,
    over: VecDeque<u64>,
    intercepted: VecDeque<u64>,
    totals: Totals,
}

/// One connection.
#[derive(Clone, Debug)]
struct Record {
    origin: Arc<Origin>,
    monitor: TunnelMonitor,
    presented: Option<Arc<Presented>>,
    changed: u64,
    over: bool,
}

/// Where a connection came from, and what rule holds for it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Origin {
    #[serde(serialize_with = "protocol")]
    pub(crate) protocol: Protocol,
    pub(crate) client: SocketAddr,
    pub(crate) rule: Option<String>,
}

/// How many connections there have been of each kind.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Totals {
    pub(crate) verified: u64,
    pub(crate) unverified: u64,
    pub(crate) exempt: u64,
    pub(crate) refused: u64,
    pub(crate) intercepted: u64,
    pub(crate) failed: u64,
    pub(crate) unused: u64,
}

/// One connection, as it is told to people and programs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Account {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) words: Words,
    #[serde(flatten, serialize_with = "shared")]
    pub(crate) origin: Arc<Origin>,
    #[serde(flatten)]
    pub(crate) tunnel: TunnelReport,
    /// Evidence that can be had of it.
    pub(crate) evidence: Vec<&'static str>,
    #[serde(
        serialize_with = "perhaps_shared",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) presented: Option<Arc<Presented>>,
}

/// What has changed.
#[derive(Debug, Serialize)]
pub(crate) struct Changes {
    pub(crate) version: u64,
    pub(crate) totals: Totals,
    /// All that are remembered.
    pub(crate) ids: Vec<u64>,
    /// Those that have changed.
    pub(crate) connections: Vec<Account>,
}

/// A connection under way; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    history: Arc<History>,
    id: u64,
}

impl History {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    pub(crate) fn begin(self: &Arc<Self>, origin: Origin, monitor: TunnelMonitor) -> Entry {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.version += 1;
        let record = Record {
            origin: Arc::new(origin),
            monitor,
            presented: None,
            changed: state.version,
            over: false,
        };
        state.records.insert(id, record);
        drop(state);
        Entry {
            history: Arc::clone(self),
            id,
        }
    }

    /// What has changed since this version; bytes are counted for those that are open.
    pub(crate) fn since(&self, version: u64) -> Changes {
        let state = self.lock();
        let mut changed = Vec::new();
        for (&id, record) in &state.records {
            if record.changed > version || !record.over {
                changed.push((id, record.clone()));
            }
        }
        let (version, totals) = (state.version, state.totals);
        let ids = state.records.keys().copied().collect();
        drop(state);
        Changes {
            version,
            totals,
            ids,
            connections: changed
                .iter()
                .map(|(id, record)| record.account(*id))
                .collect(),
        }
    }

    pub(crate) fn find(&self, id: u64) -> Option<Account> {
        let record = self.lock().records.get(&id).cloned();
        record.map(|record| record.account(id))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// There is a verdict, or a failure: counts and tells it.
    pub(crate) fn settled(&self) -> Option<Account> {
        let account = self.history.find(self.id)?;
        let mut state = self.history.lock();
        state.totals.count(account.words.kind);
        state.touch(self.id);
        Some(account)
    }

    pub(crate) fn account(&self) -> Option<Account> {
        self.history.find(self.id)
    }

    /// The rule that holds, where it is another one than was known at the beginning.
    pub(crate) fn ruled_by(&self, rule: String) {
        let mut state = self.history.lock();
        if let Some(record) = state.records.get_mut(&self.id) {
            Arc::make_mut(&mut record.origin).rule = Some(rule);
        }
        state.touch(self.id);
    }

    /// What was presented at a second glance.
    pub(crate) fn presented(&self, presented: Presented) {
        let mut state = self.history.lock();
        if let Some(record) = state.records.get_mut(&self.id) {
            record.presented = Some(Arc::new(presented));
        }
        state.touch(self.id);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let account = self.history.find(self.id);
        let mut state = self.history.lock();
        let intercepted = account.is_some_and(|a| a.words.kind == Kind::Intercepted);
        state.touch(self.id);
        if let Some(record) = state.records.get_mut(&self.id) {
            record.over = true;
        }
        let queue = match intercepted {
            true => &mut state.intercepted,
            false => &mut state.over,
        };
        queue.push_back(self.id);
        let surplus = match queue.len() > self.history.limit {
            true => queue.pop_front(),
            false => None,
        };
        if let Some(oldest) = surplus {
            state.records.remove(&oldest);
        }
    }
}

impl State {
    fn touch(&mut self, id: u64) {
        self.version += 1;
        if let Some(record) = self.records.get_mut(&id) {
            record.changed = self.version;
        }
    }
}

impl Totals {
    fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Opening => {}
            Kind::Verified => self.verified += 1,
            Kind::Unverified => self.unverified += 1,
            Kind::Exempt => self.exempt += 1,
            Kind::Refused => self.refused += 1,
            Kind::Intercepted => self.intercepted += 1,
            Kind::Failed => self.failed += 1,
            Kind::Unused => self.unused += 1,
        }
    }
}

impl Record {
    fn account(&self, id: u64) -> Account {
        let tunnel = self.monitor.report();
        let mut evidence = Vec::new();
        if tunnel.evidence.is_some() {
            evidence.push("json");
        }
        if self.presented.is_some() {
            evidence.push("pem");
        }
        Account {
            id,
            words: words(&tunnel, self.origin.protocol),
            origin: Arc::clone(&self.origin),
            tunnel,
            evidence,
            presented: self.presented.clone(),
        }
    }
}

fn protocol<S: serde::Serializer>(protocol: &Protocol, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(protocol.as_str())
}

fn shared<T: Serialize, S: serde::Serializer>(
    value: &Arc<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    T::serialize(value, serializer)
}

fn perhaps_shared<T: Serialize, S: serde::Serializer>(
    value: &Option<Arc<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_deref().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use mtls_core::path::{Endpoint, Path};
    use mtls_core::{Policy, relay::ClientRelay};

    use super::*;
    use crate::connect::roots;

    fn monitor() -> TunnelMonitor {
        let relay = ClientRelay::builder(&roots::provider(), Policy::Prefer)
            .side(Path::system())
            .build()
            .expect("a relay");
        let target: Endpoint = "a.test:443".parse().expect("an endpoint");
        relay.tunnel(target).monitor()
    }

    fn begin(history: &Arc<History>) -> Entry {
        let origin = Origin {
            protocol: Protocol::Connect,
            client: ([127, 0, 0, 1], 1).into(),
            rule: None,
        };
        history.begin(origin, monitor())
    }

    #[test]
    fn the_open_stay_and_the_last_that_are_over() {
        let history = Arc::new(History::new(2));
        let open = begin(&history);
        for _ in 0..5 {
            drop(begin(&history));
        }
        assert_eq!(history.since(0).ids, [0, 4, 5]);
        drop(open);
        assert_eq!(history.since(0).ids, [0, 5]);
        assert!(history.find(4).is_none());
    }

    #[test]
    fn no_history_means_the_open_alone() {
        let history = Arc::new(History::new(0));
        let open = begin(&history);
        drop(begin(&history));
        assert_eq!(history.since(0).ids, [0]);
        drop(open);
        assert!(history.since(0).ids.is_empty());
    }

    #[test]
    fn only_changes_and_what_is_open_are_told_again() {
        let history = Arc::new(History::new(9));
        drop(begin(&history));
        let first = history.since(0);
        assert_eq!(first.connections.len(), 1);
        assert!(history.since(first.version).connections.is_empty());
        let _open = begin(&history);
        let second = history.since(first.version);
        assert_eq!(second.connections[0].id, 1);
        assert_eq!(history.since(second.version).connections.len(), 1);
    }
}
