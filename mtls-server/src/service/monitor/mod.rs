//! The counters of a running service, and their reports.

mod fleet;
mod metrics;
mod report;
mod tally;
mod times;
mod tokens;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mtls_core::observer::{Event, Observer};
use mtls_core::registry::{PendingRegistry, ServiceId};
use mtls_core::{Policy, SideServiceSettings};

use self::metrics::{Direction, FrameLabels, Metrics, ReasonLabels, VerdictLabels};
use super::AcceptedConnections;
use super::fleet::{Fleet, Pending};
use super::hand_over::HandOver;

/// Monitors one service: observes the events of an acceptor or relay, for the status page.
///
/// Pass it to the builder of the acceptor or relay as the `observer`, with its
/// [`registry`](Self::registry), and set the source of [open connections](Self::count_open).
pub(crate) struct Monitor {
    started: Instant,
    has_inherited: bool,
    stage: AtomicU8,
    pending: OnceLock<Pending>,
    open: OnceLock<Box<OpenCount>>,
    accepted: OnceLock<AcceptedConnections>,
    /// The description of the service on the status page.
    description: OnceLock<serde_json::Value>,
    backend: OnceLock<Box<dyn Backend>>,
    metrics: Metrics,
}

type OpenCount = dyn Fn() -> usize + Send + Sync;

/// The target of a service.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Whether it accepts connections, as of the last check; without it a service is not ready.
    fn up(&self) -> Option<bool>;

    /// The bytes to it and from it, if they are counted.
    fn bytes(&self) -> Option<(u64, u64)>;

    /// Its fields on the status page.
    fn status(&self) -> serde_json::Value;
}

/// The stage of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Starting = 0,
    Ready = 1,
    Draining = 2,
}

impl Monitor {
    /// Monitors a service, which may have a predecessor on the same sockets if it has inherited
    /// them.
    pub(crate) fn new(has_inherited: bool) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            has_inherited,
            stage: AtomicU8::new(Stage::Starting as u8),
            pending: OnceLock::new(),
            open: OnceLock::new(),
            accepted: OnceLock::new(),
            description: OnceLock::new(),
            backend: OnceLock::new(),
            metrics: Metrics::new(),
        })
    }

    /// The registry that the service has to use, so that its handshakes can be counted.
    pub(crate) fn registry(&self) -> Arc<dyn PendingRegistry> {
        self.pending().registry()
    }

    /// The name of the service in [`registry`](Self::registry).
    pub(crate) fn service(&self) -> ServiceId {
        self.pending().service()
    }

    /// The settings of verifications that this monitors.
    pub(crate) fn side_settings(self: &Arc<Self>, policy: Policy) -> SideServiceSettings {
        SideServiceSettings::new(policy)
            .observer(Arc::clone(self) as Arc<dyn Observer>)
            .registry(self.registry())
            .service(self.service())
    }

    /// Uses a registry that several machines share, from before the service asks for its registry.
    pub(crate) fn share_registry(&self, fleet: Fleet) {
        let _ = self.pending.set(Pending::Shared(fleet));
    }

    /// Returns true if other machines use the same registry.
    pub(crate) fn shares_registry(&self) -> bool {
        self.pending().status().is_some()
    }

    /// Returns true while the shared registry lets this machine complete no handshake.
    pub(crate) fn is_isolated(&self) -> bool {
        self.pending().status().is_some_and(|fleet| !fleet.lease)
    }

    /// Tells the machines that share the registry that this one ends.
    pub(crate) async fn leave(&self) {
        self.pending().leave().await;
    }

    fn pending(&self) -> &Pending {
        self.pending
            .get_or_init(|| Pending::Memory(HandOver::start(self.has_inherited)))
    }

    /// Sets the source of the number of open connections, once.
    pub(crate) fn count_open(&self, open: impl Fn() -> usize + Send + Sync + 'static) {
        let _ = self.open.set(Box::new(open));
    }

    /// Sets the source of the numbers of accepted connections, once.
    pub(crate) fn count_accepted(&self, accepted: AcceptedConnections) {
        let _ = self.accepted.set(accepted);
    }

    /// Sets the description of the service on the status page, such as its addresses, once.
    pub(crate) fn describe(&self, description: serde_json::Value) {
        let _ = self.description.set(description);
    }

    /// Sets the target of the service, once.
    pub(crate) fn set_backend(&self, backend: impl Backend) {
        let _ = self.backend.set(Box::new(backend));
    }

    /// Whether the target does not accept connections.
    pub(crate) fn backend_is_down(&self) -> bool {
        let backend = self.backend.get();
        backend.and_then(|backend| backend.up()) == Some(false)
    }

    /// Records the end of the current certificate, in seconds since 1970-01-01 UTC.
    pub(crate) fn set_certificate_end(&self, not_after: Option<i64>) {
        self.metrics
            .certificate_not_after
            .set(not_after.unwrap_or(0));
    }

    /// Counts a reload of the certificate's files, and its result.
    pub(crate) fn count_reload(&self, fresh: bool) {
        let reason = if fresh { "fresh" } else { "kept" };
        self.metrics.reloads.count(ReasonLabels { reason });
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        if stage == Stage::Draining {
            self.pending().end();
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Starting,
            1 => Stage::Ready,
            _ => Stage::Draining,
        }
    }

    fn open(&self) -> usize {
        self.open.get().map_or(0, |open| open())
    }

    fn passed(&self, verdict: &mtls_core::Verdict) {
        self.metrics.connections.count(VerdictLabels {
            verdict: verdict.outcome.as_str(),
            reason: verdict.outcome.reason().unwrap_or("none"),
            binding: match (verdict.inheritance(), verdict.binding()) {
                (Some(_), _) => "inherited",
                (None, Some(binding)) => binding.as_str(),
                (None, None) => "none",
            },
        });
        if verdict.tls.transport == Some("quic") {
            self.metrics.quic_connections.inc();
        }
        if let Some(tls) = verdict.times.tls {
            self.metrics.handshake_times.observe(tls);
        }
        if let Some(done) = verdict.times.verdict {
            self.metrics.verdict_times.observe(done);
        }
    }

    fn frame(&self, direction: Direction, body: &mtls_core::proto::frame::FrameBody) {
        let (kind, code) = tokens::frame(body);
        self.metrics.side_frames.count(FrameLabels {
            direction,
            kind,
            code,
        });
    }
}

impl Observer for Monitor {
    fn observe(&self, event: &Event<'_>) {
        let metrics = &self.metrics;
        let fault = |reason| metrics.side_faults.count(ReasonLabels { reason });
        match event {
            Event::Passed(verdict) => self.passed(verdict),
            Event::Failed(error) => metrics.failures.count(ReasonLabels {
                reason: tokens::failure(error),
            }),
            Event::NotRegistered(error) => metrics.unregistered.count(ReasonLabels {
                reason: tokens::unregistered(*error),
            }),
            Event::SideOpened => {
                metrics.side_connections.inc();
                metrics.side_open.inc();
            }
            Event::SideClosed => {
                metrics.side_open.dec();
            }
            Event::SideRefused => fault("no-place"),
            Event::SideFailed(error) => fault(tokens::side_fault(error)),
            Event::FrameReceived(body) => self.frame(Direction::Received, body),
            Event::FrameSent(body) => self.frame(Direction::Sent, body),
            Event::Disputed => fault("wrong-value"),
            Event::Confirmed => {
                metrics.confirmations.inc();
            }
            _ => {}
        }
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor")
            .field("stage", &self.stage())
            .finish_non_exhaustive()
    }
}

impl Stage {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}
