//! The shared registry on the status page and in the metrics.

use std::collections::HashMap;
use std::fmt;

use mtls_core::registry::fleet::{EngineStatus, FleetStatus, LATENCY_BOUNDS};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value, json};

/// For `/status`.
pub(super) fn status(fleet: &FleetStatus) -> Value {
    let engines = fleet.engines.iter().map(|engine| {
        json!({
            "connected": engine.connected,
            "problem": engine.problem.as_ref().map(ToString::to_string),
            "operations": engine.operations,
            "errors": engine.errors,
            "mean_ms": mean_ms(engine),
        })
    });
    json!({
        "takes_handshakes": fleet.lease,
        "machine_number_in_use_twice": fleet.conflict,
        "machines": fleet.members,
        "questions": fleet.polls,
        "unknown": fleet.unknown,
        "not_sealed": fleet.not_sealed,
        "engines": engines.collect::<Value>(),
    })
}

fn mean_ms(engine: &EngineStatus) -> Option<f64> {
    let total = engine.latency_sum.as_secs_f64() * 1000.0;
    (engine.operations > 0).then(|| (total / engine.operations as f64 * 1000.0).round() / 1000.0)
}

/// For `/metrics`.
#[derive(Debug)]
pub(super) struct FleetNow(pub(super) FleetStatus);

impl Collector for FleetNow {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(fleet) = self;
        for (name, help, value) in [
            (
                "registry_lease",
                "1 while this machine may complete handshakes",
                f64::from(u8::from(fleet.lease)),
            ),
            (
                "registry_machines",
                "Machines of the fleet, this one included",
                fleet.members as f64,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, value) in [
            (
                "registry_questions",
                "Questions to all machines about a handshake without a record",
                fleet.polls,
            ),
            (
                "registry_unknown",
                "Handshakes that no machine holds: interceptions, if they go on",
                fleet.unknown,
            ),
            (
                "registry_not_sealed",
                "Records and messages that no key of the fleet opens",
                fleet.not_sealed,
            ),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        self.encode_engines(&mut encoder)
    }
}

impl FleetNow {
    /// With a label that counts the engines from 1.
    fn encode_engines(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let engines = || (1..).map(label).zip(&self.0.engines);
        let (name, help) = ("registry_engine_up", "1 while the engine is connected");
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (label, engine) in engines() {
            let up = f64::from(u8::from(engine.connected));
            metric.encode_family(&label)?.encode_gauge(&up)?;
        }
        let (name, help) = ("registry_engine_errors", "Operations that failed");
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (label, engine) in engines() {
            let mut metric = metric.encode_family(&label)?;
            metric.encode_counter::<NoLabelSet, _, f64>(&engine.errors, None)?;
        }
        let (name, help) = ("registry_engine_operation_seconds", "Time of operations");
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (label, engine) in engines() {
            let none: Option<&HashMap<usize, Exemplar<NoLabelSet, f64>>> = None;
            let sum = engine.latency_sum.as_secs_f64();
            metric.encode_family(&label)?.encode_histogram(
                sum,
                engine.operations,
                &buckets(engine),
                none,
            )?;
        }
        Ok(())
    }
}

fn label(number: usize) -> [(&'static str, String); 1] {
    [("engine", number.to_string())]
}

fn buckets(engine: &EngineStatus) -> Vec<(f64, u64)> {
    let bounds = LATENCY_BOUNDS.iter().map(std::time::Duration::as_secs_f64);
    bounds.chain([f64::MAX]).zip(engine.latency).collect()
}
