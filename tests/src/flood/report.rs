//! The results of floods.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::flooder::Work;
use super::kind::Kind;
use crate::load::level::Level;
use crate::load::traffic::{Tallies, Tally};

/// A program during a flood.
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) before: Level,
    /// The greatest values that were seen.
    pub(super) peak: Level,
    pub(super) after: Level,
    pub(super) cpu: Duration,
}

/// One flood.
pub(super) struct Flooded {
    pub(super) kind: Kind,
    pub(super) work: Work,
    pub(super) time: Duration,
    /// Honest clients from other addresses.
    pub(super) honest: Tallies,
    /// Honest clients from the flooder's address, where it has only one.
    pub(super) behind: Option<Tallies>,
    pub(super) services: Vec<Service>,
}

/// All of them.
pub(super) struct Report {
    pub(super) idle: Tallies,
    pub(super) floods: Vec<Flooded>,
}

const HEADER: &str = "\
| flood | amount | per second | honest requests answered | p50 (idle), ms | p99 (idle), ms | behind its address | peak memory, MB | peak descriptors | CPU of servers, s | CPU of flooders, s |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

impl Report {
    pub(super) fn is_sound(&self) -> bool {
        self.violations().is_empty()
    }

    /// The violations of what must hold, a line each.
    fn violations(&self) -> Vec<String> {
        let idle = violations_of("idle", &self.idle);
        let floods = self.floods.iter().flat_map(Flooded::violations);
        idle.into_iter().chain(floods).collect()
    }

    /// Prints everything, and the violations on standard error.
    pub(super) fn print(&self, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if as_json {
            writeln!(out, "{:#}", self.json())?;
        } else {
            writeln!(out, "{HEADER}")?;
            let idle = all(&self.idle);
            for flood in &self.floods {
                writeln!(out, "{}", flood.row(&idle))?;
            }
        }
        let mut errors = io::stderr().lock();
        for violation in self.violations() {
            writeln!(errors, "error: {violation}")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let idle = all(&self.idle);
        json!({
            "sound": self.is_sound(),
            "violations": self.violations(),
            "idle": summary(&idle),
            "floods": self.floods.iter().map(Flooded::json).collect::<Vec<_>>(),
        })
    }
}

impl Flooded {
    fn violations(&self) -> Vec<String> {
        let title = self.kind.title();
        let mut found = violations_of(title, &self.honest);
        if let Some(behind) = &self.behind {
            let wrong = all(behind).wrong;
            if wrong > 0 {
                found.push(format!(
                    "{title}: {wrong} wrong verdicts behind the address"
                ));
            }
        }
        if self.work.done == 0 {
            found.push(format!("{title}: none was carried out"));
        }
        for Service {
            name,
            before,
            after,
            ..
        } in &self.services
        {
            if !after.is_back_at(before) {
                found.push(format!(
                    "{title}: {name} does not return to its level: {before:?}, then {after:?}"
                ));
            }
        }
        found
    }

    fn peak(&self, field: fn(&Level) -> u64) -> u64 {
        let peaks = self.services.iter().map(|service| field(&service.peak));
        peaks.max().unwrap_or_default()
    }

    fn cpu(&self) -> Duration {
        self.services.iter().map(|service| service.cpu).sum()
    }

    fn row(&self, idle: &Tally) -> String {
        let honest = all(&self.honest);
        let both = |part| {
            let [now, then] = [&honest, idle].map(|tally| tally.times().quantile(part));
            format!("{now:.1} ({then:.1})")
        };
        let cells = [
            self.kind.title().to_owned(),
            self.work.done.to_string(),
            format!("{:.0}", self.work.done as f64 / self.time.as_secs_f64()),
            answered(&honest),
            both(0.5),
            both(0.99),
            self.behind
                .as_ref()
                .map(all)
                .as_ref()
                .map_or_else(String::new, answered),
            (self.peak(|level| level.memory_kb) / 1024).to_string(),
            self.peak(|level| level.descriptors).to_string(),
            format!("{:.1}", self.cpu().as_secs_f64()),
            format!("{:.1}", self.work.cpu.as_secs_f64()),
        ];
        format!("| {} |", cells.join(" | "))
    }

    fn json(&self) -> Value {
        let services = self.services.iter().map(|service| {
            json!({
                "name": service.name,
                "before": service.before,
                "peak": service.peak,
                "after": service.after,
                "cpu_s": service.cpu.as_secs_f64(),
            })
        });
        json!({
            "flood": self.kind.argument(),
            "amount": self.work.done,
            "seconds": self.time.as_secs_f64(),
            "flooders_cpu_s": self.work.cpu.as_secs_f64(),
            "honest": summary(&all(&self.honest)),
            "behind": self.behind.as_ref().map(|behind| summary(&all(behind))),
            "services": services.collect::<Vec<_>>(),
        })
    }
}

fn violations_of(phase: &str, tallies: &Tallies) -> Vec<String> {
    let bad = tallies
        .iter()
        .filter(|(_, tally)| tally.lost + tally.wrong > 0);
    bad.map(|(name, tally)| {
        let (lost, wrong) = (tally.lost, tally.wrong);
        let examples = tally.faults.join("; ");
        format!("{phase}: {name}: {lost} lost, {wrong} wrong: {examples}")
    })
    .collect()
}

/// The results of all kinds of honest clients together.
fn all(tallies: &Tallies) -> Tally {
    let mut sum = Tally::default();
    tallies.values().for_each(|tally| sum.merge(tally));
    sum
}

fn answered(tally: &Tally) -> String {
    format!(
        "{} of {}",
        tally.right,
        tally.right + tally.lost + tally.wrong
    )
}

fn summary(tally: &Tally) -> Value {
    json!({
        "right": tally.right,
        "lost": tally.lost,
        "wrong": tally.wrong,
        "p50_ms": tally.times().quantile(0.5),
        "p99_ms": tally.times().quantile(0.99),
        "faults": tally.faults,
    })
}
