//! Reports of a tunnel, while it is open and afterwards.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use tokio::sync::Notify;

use super::pump::{Counters, PumpEnd};
use crate::error::Error;
use crate::path::Endpoint;
use crate::proto::binding::{Association, Role};
use crate::stream::VerdictHandle;
use crate::sync::lock;
use crate::verdict::Verdict;
use crate::verdict::evidence::Evidence;
use crate::verdict::policy::Policy;

/// Watches one tunnel from outside, such as for a status page. Clones watch the same tunnel; one
/// that outlives it keeps its last report.
#[derive(Clone, Debug)]
pub struct TunnelMonitor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Endpoint,
    since: SystemTime,
    started: Instant,
    counters: Counters,
    resolved: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    policy: Policy,
    exempt: bool,
    stage: TunnelStage,
    association: Option<Association>,
    server_name: Option<String>,
    verdict: Option<VerdictHandle>,
    evidence: Option<Arc<Evidence>>,
    error: Option<Arc<Error>>,
    lasted: Option<Duration>,
}

/// The stage of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TunnelStage {
    /// Waits for the client's hello, or for the connection to the target.
    Opening,
    /// The hellos are on their way, or the verification is.
    Verifying,
    /// A plain relay.
    Relaying,
    /// Over.
    Ended(TunnelEnd),
}

/// The end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TunnelEnd {
    /// Both ends have closed.
    Closed,
    /// The client broke its connection; the server's was reset.
    ClientReset,
    /// The server broke its connection; the client's was reset.
    ServerReset,
    /// Neither end sent anything for too long.
    Idle,
    /// It failed or was refused: [`TunnelReport::error`] says why.
    Refused,
}

/// A report of a tunnel as of now.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TunnelReport {
    /// The server that was asked for, or that the relay stands in front of.
    #[serde(serialize_with = "as_text")]
    pub target: Endpoint,
    /// The policy of the tunnel.
    pub policy: Policy,
    /// The tunnel was exempt from verification.
    pub exempt: bool,
    /// The time of its start, in seconds since 1970-01-01 UTC.
    pub unix_time: u64,
    /// Its duration so far, in seconds when serialized.
    #[serde(serialize_with = "as_seconds")]
    pub lasted: Duration,
    /// Its stage.
    pub stage: TunnelStage,
    /// The handshake's name in the side protocol, when its ClientHello was read.
    #[serde(serialize_with = "as_optional_text")]
    pub association: Option<Association>,
    /// The server name in the ClientHello: what the client wrote, no proof of anything.
    pub server_name: Option<String>,
    /// Everything that is known of its verification, when that has an outcome.
    #[serde(rename = "verification")]
    pub verdict: Option<Verdict>,
    /// The number of bytes that each end received.
    pub bytes: TunnelBytes,
    /// The error of a tunnel that was not relayed.
    #[serde(serialize_with = "as_optional_text")]
    pub error: Option<Arc<Error>>,
    /// Of an interception. A relay without keys sees no certificate in TLS 1.3, so there is no
    /// chain in it: the target, the handshake's name, the paths with their addresses, the times.
    #[serde(skip)]
    pub evidence: Option<Arc<Evidence>>,
}

/// The number of bytes that each end received, hellos included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TunnelBytes {
    /// From the client to the server.
    pub to_server: u64,
    /// From the server to the client.
    pub to_client: u64,
}

impl TunnelMonitor {
    pub(super) fn new(target: Endpoint, policy: Policy) -> Self {
        let state = State {
            policy,
            exempt: false,
            stage: TunnelStage::Opening,
            association: None,
            server_name: None,
            verdict: None,
            evidence: None,
            error: None,
            lasted: None,
        };
        Self {
            shared: Arc::new(Shared {
                target,
                since: SystemTime::now(),
                started: Instant::now(),
                counters: Counters::default(),
                resolved: Notify::new(),
                state: Mutex::new(state),
            }),
        }
    }

    /// The report as of now.
    pub fn report(&self) -> TunnelReport {
        let shared = &*self.shared;
        let state = self.lock();
        let since = shared.since.duration_since(UNIX_EPOCH);
        TunnelReport {
            target: shared.target.clone(),
            policy: state.policy,
            exempt: state.exempt,
            unix_time: since.map_or(0, |since| since.as_secs()),
            lasted: state.lasted.unwrap_or_else(|| shared.started.elapsed()),
            stage: state.stage,
            association: state.association,
            server_name: state.server_name.clone(),
            verdict: state.verdict.as_ref().map(VerdictHandle::get),
            bytes: TunnelBytes {
                to_server: shared.counters.to_server.load(Ordering::Relaxed),
                to_client: shared.counters.to_client.load(Ordering::Relaxed),
            },
            error: state.error.clone(),
            evidence: state.evidence.clone(),
        }
    }

    /// Waits until the tunnel is a plain relay, or has ended: its verification is then resolved. Safe
    /// to drop.
    pub async fn wait_until_resolved(&self) {
        let mut notified = pin!(self.shared.resolved.notified());
        notified.as_mut().enable();
        let stage = self.lock().stage;
        if matches!(stage, TunnelStage::Opening | TunnelStage::Verifying) {
            notified.await;
        }
    }

    pub(super) fn exempt(&self) {
        self.lock().exempt = true;
    }

    pub(super) fn set_policy(&self, policy: Policy) {
        self.lock().policy = policy;
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(super) fn verifying(&self, association: Option<Association>, server_name: Option<&str>) {
        let mut state = self.lock();
        state.stage = TunnelStage::Verifying;
        state.association = association;
        state.server_name = server_name.map(str::to_owned);
    }

    pub(super) fn decided(&self, verdict: VerdictHandle, evidence: Option<Box<Evidence>>) {
        let mut state = self.lock();
        state.verdict = Some(verdict);
        state.evidence = evidence.map(Arc::from);
    }

    pub(super) fn association(&self) -> Option<Association> {
        self.lock().association
    }

    pub(super) fn relaying(&self) {
        self.lock().stage = TunnelStage::Relaying;
        self.shared.resolved.notify_waiters();
    }

    pub(super) fn failed(&self, error: Error) -> TunnelReport {
        let verdict = match &error {
            Error::Unverified(unverified) => Some(&unverified.verdict),
            Error::KnownHost(violation) => Some(&violation.verdict),
            Error::Interception(evidence) => Some(&*evidence.connection),
            Error::Disputed(verdict) => Some(&**verdict),
            _ => None,
        };
        let mut state = self.lock();
        if let Some(verdict) = verdict {
            state.verdict = Some(VerdictHandle::fixed(verdict.clone()));
        }
        if let Error::Interception(evidence) = &error {
            state.evidence = Some(Arc::new(Evidence::clone(evidence)));
        }
        state.error = Some(Arc::new(error));
        drop(state);
        self.end(TunnelEnd::Refused)
    }

    pub(super) fn pumped(&self, end: PumpEnd) -> TunnelReport {
        self.end(match end {
            PumpEnd::Closed => TunnelEnd::Closed,
            PumpEnd::Broken { by: Role::Client } => TunnelEnd::ClientReset,
            PumpEnd::Broken { by: Role::Server } => TunnelEnd::ServerReset,
            PumpEnd::Idle => TunnelEnd::Idle,
        })
    }

    fn end(&self, end: TunnelEnd) -> TunnelReport {
        let mut state = self.lock();
        state.stage = TunnelStage::Ended(end);
        state.lasted = Some(self.shared.started.elapsed());
        // A page that remembers the tunnel must not keep its registration alive.
        let last = state.verdict.as_ref().map(VerdictHandle::get);
        state.verdict = last.map(VerdictHandle::fixed);
        drop(state);
        self.shared.resolved.notify_waiters();
        self.report()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

fn as_text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn as_optional_text<T: ToString, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value
        .as_ref()
        .map(ToString::to_string)
        .serialize(serializer)
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e3).round() / 1e3)
}
