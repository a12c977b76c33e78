//! The numbers of tunnels, by verdict.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use mtls_core::Error;
use mtls_core::relay::{TunnelEnd, TunnelMonitor, TunnelReport, TunnelStage};
use serde::Serialize;

use crate::service::Health;
use crate::sync::lock;

/// Counts tunnels.
#[derive(Debug, Default)]
pub(super) struct Tally {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: HashMap<u64, TunnelMonitor>,
    ended: Tunnels,
}

/// A tunnel, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    tally: Arc<Tally>,
    health: Arc<Health>,
    id: u64,
    monitor: TunnelMonitor,
    peer: SocketAddr,
}

/// The numbers of all tunnels.
///
/// A verdict is `verified`, `unverified`, `intercepted`, or `none` before it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tunnels {
    /// Open tunnels, by their current verdict.
    pub open: BTreeMap<&'static str, u64>,
    /// Ended tunnels, by their last verdict, and then by their end.
    pub ended: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// The reasons of ended tunnels that were not verified.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Bytes of all tunnels, from clients to the target.
    pub bytes_to_server: u64,
    /// Bytes of all tunnels, from the target to clients.
    pub bytes_to_client: u64,
}

impl Tally {
    /// Counts a tunnel as open until the returned value is dropped.
    pub(super) fn tunnel(
        self: &Arc<Self>,
        monitor: TunnelMonitor,
        peer: SocketAddr,
        health: &Arc<Health>,
    ) -> Counted {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        inner.open.insert(id, monitor.clone());
        drop(inner);
        Counted {
            tally: Arc::clone(self),
            health: Arc::clone(health),
            id,
            monitor,
            peer,
        }
    }

    pub(super) fn open(&self) -> usize {
        self.lock().open.len()
    }

    pub(super) fn tunnels(&self) -> Tunnels {
        let inner = self.lock();
        let mut tunnels = inner.ended.clone();
        let open: Vec<_> = inner.open.values().cloned().collect();
        drop(inner);
        for report in open.iter().map(TunnelMonitor::report) {
            *tunnels.open.entry(verdict(&report)).or_default() += 1;
            tunnels.add_bytes(&report);
        }
        tunnels
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let report = self.monitor.report();
        if let Some(error) = &report.error {
            tracing::info!(peer = %self.peer, %error, "tunnel refused");
            if matches!(**error, Error::Dial(_)) {
                self.health.request_check();
            }
        }
        let mut inner = self.tally.lock();
        inner.open.remove(&self.id);
        inner.ended.add(&report);
    }
}

impl Tunnels {
    fn add(&mut self, report: &TunnelReport) {
        let ends = self.ended.entry(verdict(report)).or_default();
        *ends.entry(end(report.stage)).or_default() += 1;
        let verdict = report.verdict.as_ref();
        if let Some(reason) = verdict.and_then(|verdict| verdict.outcome.reason()) {
            *self.reasons.entry(reason).or_default() += 1;
        }
        self.add_bytes(report);
    }

    fn add_bytes(&mut self, report: &TunnelReport) {
        self.bytes_to_server += report.bytes.to_server;
        self.bytes_to_client += report.bytes.to_client;
    }
}

fn verdict(report: &TunnelReport) -> &'static str {
    let verdict = report.verdict.as_ref();
    verdict.map_or("none", |verdict| verdict.outcome.as_str())
}

fn end(stage: TunnelStage) -> &'static str {
    match stage {
        TunnelStage::Ended(TunnelEnd::Closed) => "closed",
        TunnelStage::Ended(TunnelEnd::ClientReset) => "client-reset",
        TunnelStage::Ended(TunnelEnd::ServerReset) => "server-reset",
        TunnelStage::Ended(TunnelEnd::Idle) => "idle",
        TunnelStage::Ended(TunnelEnd::Refused) => "refused",
        // It was dropped while it was open.
        _ => "cut-off",
    }
}
