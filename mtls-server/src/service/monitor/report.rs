//! Reports of a service: JSON for people and programs, OpenMetrics for Prometheus.

use std::fmt;

use serde_json::{Map, Value, json};

use super::fleet;
use super::metrics::{BackendNow, Direction, Now, ReasonLabels};
use super::tally::Tally;
use super::{Monitor, Stage};
use crate::service::log::dropped_lines;

impl Monitor {
    /// The metrics, in the OpenMetrics text format.
    pub(crate) fn metrics(&self) -> Result<String, fmt::Error> {
        self.metrics.encode(self.now(), self.pending().status())
    }

    /// The same for people, as JSON.
    pub(crate) fn status(&self) -> Value {
        let (metrics, now) = (&self.metrics, self.now());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": self.stage().as_str(),
            "uptime_s": now.uptime_seconds.round(),
            "service": self.description.get(),
            "connections": {
                "open": now.open,
                "passed": self.passed_by_verdict(),
                "quic": metrics.quic_connections.get(),
                "accepted": { "tcp": now.accepted.tcp(), "mptcp": now.accepted.mptcp() },
                "failed": by_reason(&metrics.failures),
            },
            "handshake": metrics.handshake_times.summary(),
            "verdict": metrics.verdict_times.summary(),
            "pending_handshakes": now.pending,
            "waiting_opens": now.waiting,
            "registry": self.pending().status().as_ref().map(fleet::status),
            "unregistered": by_reason(&metrics.unregistered),
            "side": {
                "open": metrics.side_open.get(),
                "accepted": metrics.side_connections.get(),
                "confirmations": metrics.confirmations.get(),
                "frames_received": self.frames(Direction::Received),
                "frames_sent": self.frames(Direction::Sent),
                "faults": by_reason(&metrics.side_faults),
            },
            "certificate": self.certificate(),
            "log_lines_dropped": now.dropped_log_lines,
            "backend": self.backend.get().map(|backend| backend.status()),
        })
    }

    fn now(&self) -> Now {
        Now {
            open: self.open(),
            accepted: self.accepted.get().cloned().unwrap_or_default(),
            pending: self.pending().handshakes(),
            waiting: self.pending().waits(),
            ready: self.stage() == Stage::Ready && !self.backend_is_down() && !self.is_isolated(),
            backend: self.backend.get().map(|backend| BackendNow {
                up: backend.up() == Some(true),
                bytes: backend.bytes(),
            }),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            dropped_log_lines: dropped_lines(),
        }
    }

    fn passed_by_verdict(&self) -> Value {
        let list = self.metrics.connections.list();
        let rows = list.into_iter().map(|(labels, count)| {
            json!({
                "verdict": labels.verdict,
                "reason": known(labels.reason),
                "binding": known(labels.binding),
                "count": count,
            })
        });
        rows.collect()
    }

    fn frames(&self, direction: Direction) -> Value {
        let list = self.metrics.side_frames.list();
        let of_direction = list
            .into_iter()
            .filter(|(labels, _)| labels.direction == direction);
        let named = of_direction.map(|(labels, count)| match known(labels.code) {
            Some(code) => (format!("{}-{code}", labels.kind), json!(count)),
            None => (labels.kind.to_owned(), json!(count)),
        });
        Value::Object(named.collect())
    }

    /// `null` for a service without one.
    fn certificate(&self) -> Value {
        match self.metrics.certificate_not_after.get() {
            0 => Value::Null,
            not_after => json!({
                "not_after": not_after,
                "reloads": by_reason(&self.metrics.reloads),
            }),
        }
    }
}

fn known(word: &'static str) -> Option<&'static str> {
    (word != "none").then_some(word)
}

fn by_reason(tally: &Tally<ReasonLabels>) -> Value {
    let counts: Map<String, Value> = tally
        .list()
        .into_iter()
        .map(|(labels, count)| (labels.reason.to_owned(), json!(count)))
        .collect();
    Value::Object(counts)
}
