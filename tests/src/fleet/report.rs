//! The table of results.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::Tally;
use super::scenario::Scenario;

/// The results of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    scenario: &'static str,
    #[serde(skip)]
    is_fault: bool,
    #[serde(flatten)]
    tally: Tally,
    p50_ms: f64,
    p99_ms: f64,
    /// From the end of the fault until every client is verified and an attack is detected.
    recovery_s: Option<f64>,
}

const COLUMNS: [&str; 12] = [
    "scenario",
    "verified",
    "unverified",
    "refused",
    "false alarms",
    "wrong verdicts",
    "of the verified, by the client only",
    "attacks detected",
    "attacks not certain",
    "p50 ms",
    "p99 ms",
    "well after s",
];

impl Row {
    pub(super) fn new(scenario: Scenario, tally: Tally, recovery: Option<Duration>) -> Self {
        let times = tally.times();
        Self {
            scenario: scenario.title(),
            is_fault: recovery.is_some(),
            p50_ms: times.median(),
            p99_ms: times.quantile(0.99),
            recovery_s: recovery.map(|time| time.as_secs_f64()),
            tally,
        }
    }

    /// Is every verdict right, and, without a fault, every client verified?
    pub(crate) fn is_sound(&self) -> bool {
        let right = self.tally.false_alarms == 0 && self.tally.wrong_verdicts == 0;
        right && (self.is_fault || self.tally.is_all_verified())
    }

    /// One line.
    pub(super) fn summary(&self) -> String {
        let cells = COLUMNS.iter().zip(self.cells());
        let parts: Vec<_> = cells
            .skip(1)
            .map(|(name, cell)| format!("{name} {cell}"))
            .collect();
        format!("{}: {}", self.scenario, parts.join(", "))
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let tally = &self.tally;
        [
            self.scenario.to_owned(),
            tally.verified.to_string(),
            tally.unverified.to_string(),
            tally.refused.to_string(),
            tally.false_alarms.to_string(),
            tally.wrong_verdicts.to_string(),
            tally.verified_by_client_only.to_string(),
            tally.attacks_detected.to_string(),
            tally.attacks_not_certain.to_string(),
            format!("{:.1}", self.p50_ms),
            format!("{:.1}", self.p99_ms),
            self.recovery_s
                .map_or_else(String::new, |time| format!("{time:.0}")),
        ]
    }
}

/// A table in Markdown.
pub(super) fn table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(out, "| {} |", COLUMNS.join(" | "))?;
    writeln!(out, "|---{}|", "|---:".repeat(COLUMNS.len() - 1))?;
    for row in rows {
        writeln!(out, "| {} |", row.cells().join(" | "))?;
    }
    Ok(())
}

pub(super) fn json(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Report<'a> {
        schema: u32,
        scenarios: &'a [Row],
    }
    let report = Report {
        schema: 1,
        scenarios: rows,
    };
    writeln!(out, "{}", serde_json::to_string(&report)?)
}
