//! The results of a soak.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::attacks::AttackCount;
use crate::load::level::Level;
use crate::load::traffic::{Tallies, Tally};

/// Quantiles of fewer connections are not compared.
const COMPARABLE: usize = 20;

/// The levels of one program.
#[derive(Debug, Serialize)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) before: Level,
    pub(super) after: Level,
}

/// The results of a soak.
pub(super) struct Report {
    /// The limit of the 99th percentile, as a multiple of the idle system's; 0 for none.
    pub(super) factor: f64,
    pub(super) idle: Tallies,
    pub(super) loaded: Tallies,
    pub(super) attacks: BTreeMap<&'static str, AttackCount>,
    /// How often the servers got new certificates.
    pub(super) renewals: u64,
    pub(super) services: Vec<Service>,
    /// The part that did not run, and the reason.
    pub(super) skipped: Option<String>,
}

impl Report {
    pub(super) fn is_sound(&self) -> bool {
        self.violations().is_empty()
    }

    /// The violations of what must hold, a line each.
    fn violations(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (phase, tallies) in [("idle", &self.idle), ("attacked", &self.loaded)] {
            for (name, tally) in tallies
                .iter()
                .filter(|(_, tally)| tally.lost + tally.wrong > 0)
            {
                let (lost, wrong) = (tally.lost, tally.wrong);
                let examples = tally.faults.join("; ");
                all.push(format!(
                    "{name} ({phase}): {lost} lost, {wrong} wrong: {examples}"
                ));
            }
        }
        for (title, count) in self.attacks.iter().filter(|(_, count)| count.faults > 0) {
            let examples = count.examples.join("; ");
            all.push(format!(
                "{title}: {} of {} wrong: {examples}",
                count.faults, count.connections
            ));
        }
        let idle = self
            .attacks
            .iter()
            .filter(|(_, count)| count.completed == 0);
        all.extend(idle.map(|(title, _)| format!("{title}: none was carried out")));
        for Service {
            name,
            before,
            after,
        } in &self.services
        {
            if !after.is_back_at(before) {
                all.push(format!(
                    "{name} does not return to its level: {before:?}, then {after:?}"
                ));
            }
        }
        for name in self.loaded.keys().filter(|name| self.is_too_slow(name)) {
            let [idle, loaded] = [&self.idle, &self.loaded].map(|phase| p99(phase, name));
            all.push(format!(
                "{name}: p99 {loaded:.0} ms, against {idle:.0} ms of the idle system"
            ));
        }
        all
    }

    fn is_too_slow(&self, name: &str) -> bool {
        let enough = |phase: &Tallies| {
            phase
                .get(name)
                .is_some_and(|t| t.times().len() >= COMPARABLE)
        };
        self.factor > 0.0
            && enough(&self.idle)
            && enough(&self.loaded)
            && p99(&self.loaded, name) > self.factor * p99(&self.idle, name)
    }

    /// Prints everything, and the violations on standard error.
    pub(super) fn print(&self, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match as_json {
            true => writeln!(out, "{:#}", self.json())?,
            false => self.tables(&mut out)?,
        }
        let mut errors = io::stderr().lock();
        for violation in self.violations() {
            writeln!(errors, "error: {violation}")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let honest = self.loaded.iter().map(|(name, tally)| {
            let of_phase = |tallies: &Tallies, part| quantile(tallies, name, part);
            json!({
                "kind": name,
                "right": tally.right,
                "lost": tally.lost,
                "wrong": tally.wrong,
                "idle_p50_ms": of_phase(&self.idle, 0.5),
                "idle_p99_ms": of_phase(&self.idle, 0.99),
                "p50_ms": of_phase(&self.loaded, 0.5),
                "p99_ms": of_phase(&self.loaded, 0.99),
            })
        });
        json!({
            "sound": self.is_sound(),
            "violations": self.violations(),
            "honest": honest.collect::<Vec<_>>(),
            "attacks": self.attacks,
            "certificate_renewals": self.renewals,
            "services": self.services,
            "skipped": self.skipped,
        })
    }

    fn tables(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "| honest connections | right | lost | wrong | p50 idle, ms | p99 idle | p50 | p99 |"
        )?;
        writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for (name, tally) in &self.loaded {
            let Tally {
                right, lost, wrong, ..
            } = tally;
            write!(out, "| {name} | {right} | {lost} | {wrong} |")?;
            for (phase, part) in [
                (&self.idle, 0.5),
                (&self.idle, 0.99),
                (&self.loaded, 0.5),
                (&self.loaded, 0.99),
            ] {
                write!(out, " {:.1} |", quantile(phase, name, part))?;
            }
            writeln!(out)?;
        }
        writeln!(
            out,
            "\n| attack | connections | attacked clients with a wrong result |\n|---|--:|--:|"
        )?;
        for (title, count) in &self.attacks {
            writeln!(
                out,
                "| {title} | {} | {} |",
                count.connections, count.faults
            )?;
        }
        writeln!(
            out,
            "\n| program, before and after | descriptors | threads | memory, MB | pending handshakes | side connections |"
        )?;
        writeln!(out, "|---|--:|--:|--:|--:|--:|")?;
        for Service {
            name,
            before,
            after,
        } in &self.services
        {
            let both = |field: fn(&Level) -> u64| format!("{}, {}", field(before), field(after));
            let cells = [
                both(|level| level.descriptors),
                both(|level| level.threads),
                both(|level| level.memory_kb / 1024),
                both(|level| level.pending),
                both(|level| level.sides),
            ];
            writeln!(out, "| {name} | {} |", cells.join(" | "))?;
        }
        let renewals = self.renewals;
        writeln!(
            out,
            "\nThe servers got {renewals} new certificates meanwhile."
        )?;
        match &self.skipped {
            Some(skipped) => writeln!(out, "\nSkipped: {skipped}."),
            None => Ok(()),
        }
    }
}

fn p99(tallies: &Tallies, name: &str) -> f64 {
    quantile(tallies, name, 0.99)
}

fn quantile(tallies: &Tallies, name: &str, part: f64) -> f64 {
    tallies
        .get(name)
        .map_or(f64::NAN, |tally| tally.times().quantile(part))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::traffic::Outcome;

    fn tallies(outcomes: impl IntoIterator<Item = Outcome>) -> Tallies {
        let mut tally = Tally::default();
        outcomes.into_iter().for_each(|outcome| tally.add(outcome));
        Tallies::from([("kind".to_owned(), tally)])
    }

    fn right(millis: u64) -> impl Iterator<Item = Outcome> {
        (0..COMPARABLE).map(move |_| Outcome::Right(Duration::from_millis(millis)))
    }

    fn report(loaded: Tallies, faults: u64, after: Level) -> Report {
        let count = AttackCount {
            connections: 2,
            completed: 1,
            faults,
            examples: Vec::new(),
        };
        let service = Service {
            name: "serve",
            before: Level::default(),
            after,
        };
        Report {
            factor: 10.0,
            idle: tallies(right(2)),
            loaded,
            attacks: [("attack", count)].into(),
            renewals: 1,
            services: vec![service],
            skipped: None,
        }
    }

    #[test]
    fn each_violation_makes_the_result_unsound() {
        let level = Level::default();
        assert!(report(tallies(right(20)), 0, level).is_sound());
        let leak = Level {
            descriptors: 1,
            ..level
        };
        let lost = || tallies(right(2).chain([Outcome::Lost("why".to_owned())]));
        let wrong = || tallies(right(2).chain([Outcome::Wrong("why".to_owned())]));
        for unsound in [
            report(lost(), 0, level),
            report(wrong(), 0, level),
            report(tallies(right(2)), 1, level),
            report(tallies(right(2)), 0, leak),
            report(tallies(right(21)), 0, level),
        ] {
            assert_eq!(unsound.violations().len(), 1, "{:?}", unsound.violations());
        }
    }
}
