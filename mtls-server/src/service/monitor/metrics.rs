//! The metrics, with the names that Prometheus sees.

use std::fmt;

use mtls_core::registry::fleet::FleetStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::fleet::FleetNow;
use super::tally::Tally;
use super::times::Times;
use crate::service::AcceptedConnections;

/// The metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) connections: Tally<VerdictLabels>,
    pub(super) quic_connections: Counter,
    pub(super) failures: Tally<ReasonLabels>,
    pub(super) unregistered: Tally<ReasonLabels>,
    pub(super) handshake_times: Times,
    pub(super) verdict_times: Times,
    pub(super) side_connections: Counter,
    pub(super) side_open: Gauge,
    pub(super) side_frames: Tally<FrameLabels>,
    pub(super) side_faults: Tally<ReasonLabels>,
    pub(super) confirmations: Counter,
    pub(super) certificate_not_after: Gauge,
    pub(super) reloads: Tally<ReasonLabels>,
}

/// The verdict on a connection that passed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub(super) struct VerdictLabels {
    pub(super) verdict: &'static str,
    pub(super) reason: &'static str,
    pub(super) binding: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub(super) struct FrameLabels {
    pub(super) direction: Direction,
    pub(super) kind: &'static str,
    /// The code of a Reject; otherwise `none`.
    pub(super) code: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Direction {
    Received,
    Sent,
}

impl Direction {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
        }
    }
}

impl EncodeLabelValue for Direction {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// Values that are measured for each report.
#[derive(Clone, Debug)]
pub(super) struct Now {
    pub(super) open: usize,
    pub(super) accepted: AcceptedConnections,
    pub(super) pending: usize,
    pub(super) waiting: usize,
    pub(super) ready: bool,
    pub(super) uptime_seconds: f64,
    pub(super) dropped_log_lines: u64,
    pub(super) backend: Option<BackendNow>,
}

/// The same of the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackendNow {
    pub(super) up: bool,
    /// To it and from it, if they are counted.
    pub(super) bytes: Option<(u64, u64)>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            connections: Tally::new(),
            quic_connections: Counter::default(),
            failures: Tally::new(),
            unregistered: Tally::new(),
            handshake_times: Times::new(),
            verdict_times: Times::new(),
            side_connections: Counter::default(),
            side_open: Gauge::default(),
            side_frames: Tally::new(),
            side_faults: Tally::new(),
            confirmations: Counter::default(),
            certificate_not_after: Gauge::default(),
            reloads: Tally::new(),
        }
    }

    /// Encodes all of them in the OpenMetrics text format.
    pub(super) fn encode(
        &self,
        now: Now,
        fleet: Option<FleetStatus>,
    ) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("multipath_tls");
        self.register_connections(&mut registry);
        self.register_sides(&mut registry);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This program", version);
        registry.register_collector(Box::new(now));
        if let Some(fleet) = fleet {
            registry.register_collector(Box::new(FleetNow(fleet)));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Connections that the policy let pass, by their verdict when it was decided",
            self.connections.family(),
        );
        registry.register(
            "quic_connections",
            "Those of them that are QUIC",
            self.quic_connections.clone(),
        );
        registry.register(
            "failures",
            "Connections that came to nothing, by the reason",
            self.failures.family(),
        );
        registry.register_with_unit(
            "handshake",
            "Time until TLS was complete, of connections that passed",
            Unit::Seconds,
            self.handshake_times.histogram(),
        );
        registry.register_with_unit(
            "verdict",
            "Time until the verdict was decided: under prefer, until the first request or later",
            Unit::Seconds,
            self.verdict_times.histogram(),
        );
        registry.register(
            "certificate_not_after_timestamp_seconds",
            "When the certificate in use ends; 0 where there is none",
            self.certificate_not_after.clone(),
        );
        registry.register(
            "certificate_reloads",
            "Reloads: fresh, or kept because the files could not be used",
            self.reloads.family(),
        );
    }

    fn register_sides(&self, registry: &mut Registry) {
        registry.register(
            "unregistered",
            "Handshakes that could not be registered, by the reason",
            self.unregistered.family(),
        );
        registry.register(
            "side_connections",
            "Side connections that were accepted",
            self.side_connections.clone(),
        );
        registry.register(
            "side_connections_open",
            "Side connections that are open",
            self.side_open.clone(),
        );
        registry.register(
            "side_frames",
            "Frames on side connections",
            self.side_frames.family(),
        );
        registry.register(
            "side_faults",
            "What went wrong on side connections",
            self.side_faults.family(),
        );
        registry.register(
            "confirmations",
            "Side paths that confirmed a handshake",
            self.confirmations.clone(),
        );
    }
}

impl Now {
    /// A counter for each transport.
    fn encode_accepted(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Connections that were accepted at the addresses for TLS, side connections there \
                    included";
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor("accepted_connections", help, None, kind)?;
        for (transport, count) in [
            ("tcp", self.accepted.tcp()),
            ("mptcp", self.accepted.mptcp()),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(family.encode_family(&[("transport", transport)])?)?;
        }
        Ok(())
    }
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)
        };
        // A count of what is open is far below what a float can hold exactly.
        gauge(
            "connections_open",
            "Connections that are open",
            self.open as f64,
        )?;
        gauge(
            "pending_handshakes",
            "Handshakes that side connections can ask for, those that ended just now included",
            self.pending as f64,
        )?;
        gauge(
            "waiting_opens",
            "Questions that came before their handshake",
            self.waiting as f64,
        )?;
        gauge(
            "ready",
            "1 while it serves; 0 before, while it drains, and while its target is down",
            f64::from(u8::from(self.ready)),
        )?;
        gauge(
            "uptime_seconds",
            "Time since the start",
            self.uptime_seconds,
        )?;
        if let Some(backend) = self.backend {
            gauge(
                "target_up",
                "1 while the target takes connections",
                f64::from(u8::from(backend.up)),
            )?;
        }
        self.encode_accepted(&mut encoder)?;
        let mut counter = |name: &str, help: &str, value: u64| {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)
        };
        counter(
            "log_lines_dropped",
            "Log lines dropped because standard error was not read",
            self.dropped_log_lines,
        )?;
        let Some((to, from)) = self.backend.and_then(|backend| backend.bytes) else {
            return Ok(());
        };
        counter("target_sent_bytes", "Bytes passed on to the target", to)?;
        counter(
            "target_received_bytes",
            "Bytes passed on from the target",
            from,
        )
    }
}
