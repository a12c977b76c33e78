//! The table of verdicts on several targets.

use std::fmt::Write;
use std::io;

use mtls_core::path::Endpoint;
use mtls_core::{Outcome, Verdict};
use unicode_width::UnicodeWidthStr;

use crate::connect::attempt::Attempt;
use crate::failure::Failure;
use crate::output::messages;
use crate::output::style::{Colour, Style};
use crate::output::text::{milliseconds, padded};

/// The width of the widest verdict.
const VERDICT: usize = "INTERCEPTED".len();

/// A wider target shifts its own row instead of widening the column.
const WIDEST_TARGET: usize = 44;

/// Wide enough for the times within the default deadline.
const TIME: usize = "3000.0 ms".len();

/// A table that is written row by row.
pub(super) struct Table {
    style: Style,
    target: usize,
    begun: bool,
    verified: usize,
    unverified: usize,
    pinned: usize,
    intercepted: usize,
    failed: usize,
}

impl Table {
    /// The targets determine the width of their column.
    pub(super) fn new(targets: &[Endpoint]) -> Self {
        let widths = targets.iter().map(|target| target.to_string().width());
        Self {
            style: Style::of(&io::stdout()),
            target: widths
                .max()
                .unwrap_or(0)
                .clamp("TARGET".len(), WIDEST_TARGET),
            begun: false,
            verified: 0,
            unverified: 0,
            pinned: 0,
            intercepted: 0,
            failed: 0,
        }
    }

    /// Writes the row of one target.
    pub(super) fn row(&mut self, attempt: &Attempt) -> Result<(), Failure> {
        let mut text = String::new();
        if !self.begun {
            self.begun = true;
            let head = self.line("VERDICT", "TARGET", "TIME", "DETAIL");
            let _ = writeln!(text, "{}", self.style.paint(Colour::Faint, head));
        }
        let (word, colour) = self.count(attempt);
        let times = attempt.verdict.as_ref().map(|verdict| verdict.times);
        let time = times.and_then(|times| times.verdict.or(times.tls));
        let line = self.line(
            word,
            &attempt.target.to_string(),
            &time.map_or("-".into(), milliseconds),
            &detail(attempt),
        );
        // Escape sequences would count as columns, so the colour is added last.
        let (word, rest) = line.split_at(word.len());
        let _ = writeln!(text, "{}{rest}", self.style.paint(colour, word));
        messages::print(&text).map_err(messages::not_written)
    }

    /// Writes the number of targets with each verdict.
    pub(super) fn end(&self) -> Result<(), Failure> {
        let counts = [
            (self.verified, "verified"),
            (self.unverified, "unverified"),
            (self.pinned, "pinned"),
            (self.intercepted, "INTERCEPTED"),
            (self.failed, "without a connection"),
        ];
        let total: usize = counts.iter().map(|(count, _)| count).sum();
        let counted: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, verdict)| format!("{count} {verdict}"))
            .collect();
        let text = format!("\n{total} targets: {}\n", counted.join(", "));
        messages::print(&text).map_err(messages::not_written)
    }

    fn count(&mut self, attempt: &Attempt) -> (&'static str, Colour) {
        let outcome = attempt.verdict.as_ref().map(|verdict| &verdict.outcome);
        let (counter, word, colour) = match outcome {
            _ if attempt.is_interception() => (&mut self.intercepted, "INTERCEPTED", Colour::Bad),
            Some(Outcome::Verified(_)) => (&mut self.verified, "VERIFIED", Colour::Good),
            Some(Outcome::Pinned(_)) => (&mut self.pinned, "PINNED", Colour::Doubtful),
            Some(_) => (&mut self.unverified, "UNVERIFIED", Colour::Doubtful),
            None => (&mut self.failed, "ERROR", Colour::Bad),
        };
        *counter += 1;
        (word, colour)
    }

    fn line(&self, verdict: &str, target: &str, time: &str, detail: &str) -> String {
        let verdict = padded(verdict, VERDICT);
        let target = padded(target, self.target);
        format!("{verdict}  {target}  {time:>TIME$}  {detail}")
            .trim_end()
            .to_owned()
    }
}

/// The binding and paths of a verified connection, or the reason why it is not verified.
fn detail(attempt: &Attempt) -> String {
    match (&attempt.verdict, &attempt.failure) {
        (Some(verdict), _) => of_verdict(verdict),
        (None, Some(failure)) => failure.token.to_owned(),
        (None, None) => String::new(),
    }
}

fn of_verdict(verdict: &Verdict) -> String {
    match (verdict.outcome.reason(), verdict.binding()) {
        (Some(reason), _) => reason.to_owned(),
        (None, None) if verdict.inheritance().is_some() => format!(
            "inherited from {} (weaker), {}",
            verdict.method,
            paths(verdict)
        ),
        (None, Some(binding)) => format!("{binding}, {}", paths(verdict)),
        (None, None) => format!("{} (weaker), {}", verdict.method, paths(verdict)),
    }
}

fn paths(verdict: &Verdict) -> String {
    let independence = verdict.independence();
    match independence.is_independent() {
        true => format!("independent ({})", independence.as_str()),
        false => format!("paths not independent ({})", independence.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_target_shifts_its_own_row_alone() {
        let targets = [
            "a.test:443".to_owned(),
            format!("{}.test:443", "a".repeat(60)),
        ];
        let targets = targets.map(|target| target.parse().unwrap());
        let table = Table::new(&targets);
        assert_eq!(table.target, WIDEST_TARGET);
        let columns = |line: String| line.find(" ms").map(|at| line[..at].width());
        let short = table.line("VERIFIED", "a.test:443", "1.0 ms", "x");
        let other = table.line("ERROR", "bb.test:443", "30.0 ms", "y");
        assert_eq!(columns(short), columns(other));
    }
}
