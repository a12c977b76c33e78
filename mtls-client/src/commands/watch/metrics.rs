//! Metrics in the text format of Prometheus.

use std::fmt::{Display, Write};

use super::Watch;
use super::observation::{Kind, Observation, now};
use super::state::Target;

/// All metrics.
pub(super) fn text(watch: &Watch) -> String {
    let state = watch.lock();
    let mut text = String::new();
    verdicts(&mut text, &state.targets);
    let now = now();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Target) -> Option<f64>| {
        head(&mut text, name, "gauge", help);
        for (target, entry) in &state.targets {
            if let Some(value) = value(entry) {
                sample(&mut text, name, &[("target", target)], value);
            }
        }
    };
    let current = |target: &Target, value: &dyn Fn(&Observation) -> Option<f64>| {
        target.current.as_ref().and_then(value)
    };
    gauge("age_seconds", "Seconds since the last check.", &|target| {
        current(target, &|last| {
            Some(now.saturating_sub(last.unix_time) as f64)
        })
    });
    gauge(
        "last_change_timestamp_seconds",
        "Time of the last change of the verdict.",
        &|target| current(target, &|_| Some(target.since as f64)),
    );
    gauge(
        "certificate_expiry_timestamp_seconds",
        "End of the validity of the certificate on the primary path.",
        &|target| {
            current(target, &|last| {
                last.certificate_expiry.map(|end| end as f64)
            })
        },
    );
    gauge("checks", "Checks since the target is watched.", &|target| {
        Some(target.checks as f64)
    });
    durations(&mut text, &state.targets);
    drop(state);
    receivers(&mut text, watch);
    text
}

type Targets = std::collections::BTreeMap<String, Target>;

/// One series for each verdict, of which one has the value 1: a query needs no stale series.
fn verdicts(text: &mut String, targets: &Targets) {
    head(
        text,
        "verdict",
        "gauge",
        "1 for the last verdict of a target, and 0 for the others.",
    );
    for (target, entry) in targets {
        let Some(current) = &entry.current else {
            continue;
        };
        for kind in Kind::ALL {
            let labels = [("target", target.as_str()), ("verdict", kind.as_str())];
            sample(text, "verdict", &labels, u8::from(kind == current.verdict));
        }
    }
}

fn durations(text: &mut String, targets: &Targets) {
    head(
        text,
        "duration_seconds",
        "gauge",
        "Seconds from the start of the last check to a step.",
    );
    for (target, entry) in targets {
        let Some(last) = &entry.current else {
            continue;
        };
        for (step, time) in [
            ("connected", last.connected),
            ("tls", last.tls),
            ("verdict", last.decided),
        ] {
            if let Some(time) = time {
                let labels = [("target", target.as_str()), ("step", step)];
                sample(text, "duration_seconds", &labels, time);
            }
        }
    }
}

fn receivers(text: &mut String, watch: &Watch) {
    head(
        text,
        "notifications_pending",
        "gauge",
        "Notifications that were not delivered yet.",
    );
    for one in &watch.receivers {
        let labels = [("receiver", one.name())];
        sample(text, "notifications_pending", &labels, one.pending_count());
    }
    let help = "Notifications that were dropped, because too many were pending.";
    head(text, "notifications_dropped_total", "counter", help);
    for one in &watch.receivers {
        let labels = [("receiver", one.name())];
        sample(text, "notifications_dropped_total", &labels, one.dropped());
    }
    let help = "Lines that standard output or standard error did not take.";
    head(text, "lines_dropped_total", "counter", help);
    sample(text, "lines_dropped_total", &[], watch.lines.dropped());
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP multipath_tls_watch_{name} {help}");
    let _ = writeln!(text, "# TYPE multipath_tls_watch_{name} {kind}");
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    let labels = labels.iter().map(|(label, value)| {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("{label}=\"{value}\"")
    });
    let labels: Vec<_> = labels.collect();
    let labels = match labels.is_empty() {
        true => String::new(),
        false => format!("{{{}}}", labels.join(",")),
    };
    let _ = writeln!(text, "multipath_tls_watch_{name}{labels} {value}");
}
