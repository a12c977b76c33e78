//! The connections that the page shows: the open ones and the last ones that have ended.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mtls_core::path::DialError;
use mtls_core::relay::{TunnelEnd, TunnelMonitor, TunnelReport, TunnelStage};
use mtls_core::{Error, SecondLook};
use serde::Serialize;

use super::request::Protocol;
use super::summary::{Kind, Summary};

/// The history of connections: those that are open, the last N that have ended, and the last N
/// interceptions. An attacker cannot evict an interception with other connections.
#[derive(Debug)]
pub(crate) struct History {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Incremented by each change.
    version: u64,
    records: BTreeMap<u64, Record>,
    ended: VecDeque<u64>,
    intercepted: VecDeque<u64>,
    totals: Totals,
}

/// One connection.
#[derive(Clone, Debug)]
struct Record {
    origin: Arc<Origin>,
    monitor: TunnelMonitor,
    /// The last report of a tunnel that was refused before it ran.
    refused: Option<Box<TunnelReport>>,
    certificates: Option<Arc<SecondLook>>,
    changed: u64,
    ended: bool,
}

/// The client of a connection, and the rule that applies.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Origin {
    #[serde(serialize_with = "protocol")]
    pub(crate) protocol: Protocol,
    pub(crate) client: SocketAddr,
    pub(crate) rule: Option<String>,
}

/// The number of connections of each kind.
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

/// One connection, for the page and for JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConnectionReport {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) summary: Summary,
    #[serde(flatten, serialize_with = "shared")]
    pub(crate) origin: Arc<Origin>,
    #[serde(flatten)]
    pub(crate) tunnel: TunnelReport,
    /// The formats in which evidence is available.
    pub(crate) evidence: Vec<&'static str>,
    #[serde(
        serialize_with = "optional_shared",
        skip_serializing_if = "Option::is_none"
    )]
    #[serde(rename = "presented")]
    pub(crate) certificates: Option<Arc<SecondLook>>,
}

/// The changes since a version.
#[derive(Debug, Serialize)]
pub(crate) struct Changes {
    pub(crate) version: u64,
    pub(crate) totals: Totals,
    /// All connections in the history.
    pub(crate) ids: Vec<u64>,
    /// The connections that have changed.
    pub(crate) connections: Vec<ConnectionReport>,
}

/// The entry of an open connection, which ends when this is dropped.
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
            refused: None,
            certificates: None,
            changed: state.version,
            ended: false,
        };
        state.records.insert(id, record);
        drop(state);
        Entry {
            history: Arc::clone(self),
            id,
        }
    }

    /// The changes since this version; open connections always count as changed.
    pub(crate) fn since(&self, version: u64) -> Changes {
        let state = self.lock();
        let mut changed = Vec::new();
        for (&id, record) in &state.records {
            if record.changed > version || !record.ended {
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
                .map(|(id, record)| record.report(*id))
                .collect(),
        }
    }

    pub(crate) fn find(&self, id: u64) -> Option<ConnectionReport> {
        let record = self.lock().records.get(&id).cloned();
        record.map(|record| record.report(id))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Counts the verdict or the failure, and returns the report.
    pub(crate) fn record_verdict(&self) -> Option<ConnectionReport> {
        let report = self.history.find(self.id)?;
        let mut state = self.history.lock();
        state.totals.count(report.summary.kind);
        state.touch(self.id);
        Some(report)
    }

    pub(crate) fn report(&self) -> Option<ConnectionReport> {
        self.history.find(self.id)
    }

    /// Replaces the rule that applies, once the address of the target is known.
    pub(crate) fn set_rule(&self, rule: String) {
        let mut state = self.history.lock();
        if let Some(record) = state.records.get_mut(&self.id) {
            Arc::make_mut(&mut record.origin).rule = Some(rule);
        }
        state.touch(self.id);
    }

    /// Ends a tunnel that never runs.
    pub(crate) fn refuse(&self, reason: Box<DialError>) {
        let mut state = self.history.lock();
        if let Some(record) = state.records.get_mut(&self.id) {
            let mut report = record.monitor.report();
            report.stage = TunnelStage::Ended(TunnelEnd::Refused);
            report.error = Some(Arc::new(Error::Dial(reason)));
            record.refused = Some(Box::new(report));
        }
        state.touch(self.id);
    }

    /// Adds the certificates of a second connection.
    pub(crate) fn set_certificates(&self, certificates: SecondLook) {
        let mut state = self.history.lock();
        if let Some(record) = state.records.get_mut(&self.id) {
            record.certificates = Some(Arc::new(certificates));
        }
        state.touch(self.id);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let report = self.history.find(self.id);
        let mut state = self.history.lock();
        let intercepted = report.is_some_and(|report| report.summary.kind == Kind::Intercepted);
        state.touch(self.id);
        if let Some(record) = state.records.get_mut(&self.id) {
            record.ended = true;
        }
        let queue = match intercepted {
            true => &mut state.intercepted,
            false => &mut state.ended,
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
    fn report(&self, id: u64) -> ConnectionReport {
        let tunnel = match &self.refused {
            Some(refused) => TunnelReport::clone(refused),
            None => self.monitor.report(),
        };
        let mut evidence = Vec::new();
        if tunnel.evidence.is_some() {
            evidence.push("json");
        }
        if self.certificates.is_some() {
            evidence.push("pem");
        }
        ConnectionReport {
            id,
            summary: Summary::new(&tunnel, self.origin.protocol),
            origin: Arc::clone(&self.origin),
            tunnel,
            evidence,
            certificates: self.certificates.clone(),
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

fn optional_shared<T: Serialize, S: serde::Serializer>(
    value: &Option<Arc<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_deref().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use mtls_core::path::{Endpoint, Path};
    use mtls_core::{ClientSettings, Policy, relay::ClientRelay};

    use super::*;
    use crate::connect::provider::provider;

    fn monitor() -> TunnelMonitor {
        let settings = ClientSettings::new(Policy::Prefer).side(Path::system());
        let relay = ClientRelay::builder(&provider(), settings)
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
    fn open_connections_and_the_last_ended_ones_are_kept() {
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
    fn without_a_history_only_open_connections_are_kept() {
        let history = Arc::new(History::new(0));
        let open = begin(&history);
        drop(begin(&history));
        assert_eq!(history.since(0).ids, [0]);
        drop(open);
        assert!(history.since(0).ids.is_empty());
    }

    #[test]
    fn only_changed_and_open_connections_are_sent_again() {
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
