//! Who is told what: verdicts, warnings and errors.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use mtls_core::{Outcome, Verdict};

use crate::connect::attempt::Attempt;
use crate::connect::failure::Failure;
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::output::json;
use crate::output::report;
use crate::output::stdout;
use crate::output::style::Style;

/// Tells what came of the connections.
#[derive(Clone, Copy)]
pub(crate) struct Messages<'a> {
    settings: &'a Settings,
    reports: Reports,
    /// Standard output is for data, in all circumstances.
    all_to_stderr: bool,
}

/// Where the reports for people go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reports {
    Stdout,
    Stderr,
    Nowhere,
}

impl<'a> Messages<'a> {
    pub(crate) fn new(settings: &'a Settings, reports: Reports) -> Self {
        Self {
            settings,
            reports,
            all_to_stderr: false,
        }
    }

    /// The JSON too.
    pub(crate) fn all_to_stderr(mut self) -> Self {
        self.all_to_stderr = true;
        self
    }

    /// Tells everything about one connection.
    ///
    /// # Errors
    /// When standard output does not take the verdict.
    pub(crate) fn tell(&self, attempt: &Attempt) -> Result<(), Failure> {
        let told = self.verdict(attempt);
        match (&attempt.evidence, &attempt.failure) {
            (Some(_), _) => self.alarm(attempt),
            (None, Some(failure)) => error(failure),
            (None, None) => self.warn(attempt),
        }
        told
    }

    /// Tells the verdict alone.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(crate) fn verdict(&self, attempt: &Attempt) -> Result<(), Failure> {
        if self.settings.json {
            let line = json::line(attempt, self.settings.primary.kind());
            let line = line.map_err(|error| not_written(error.into()))?;
            return self.write_json(&format!("{line}\n"));
        }
        match self.reports {
            Reports::Stdout => {
                let text = report::report(attempt, Style::of(&io::stdout()));
                return print(&text).map_err(not_written);
            }
            Reports::Stderr => note(&report::report(attempt, Style::of(&io::stderr()))),
            Reports::Nowhere => {}
        }
        Ok(())
    }

    fn write_json(&self, line: &str) -> Result<(), Failure> {
        if self.all_to_stderr {
            note(line);
            return Ok(());
        }
        print(line).map_err(not_written)
    }

    /// Tells of an interception, and keeps the evidence, if there is any.
    pub(crate) fn alarm(&self, attempt: &Attempt) {
        let Some(evidence) = &attempt.evidence else {
            return;
        };
        note(&report::alarm(attempt, evidence, Style::of(&io::stderr())));
        match &self.settings.evidence_dir {
            Some(dir) => match evidence.save(dir) {
                Ok(path) => note(&format!("Evidence saved: {}\n", path.display())),
                Err(error) => note(&format!(
                    "mtls-client: the evidence was NOT saved: {error}\n"
                )),
            },
            None => note("Evidence not saved: give --evidence-dir DIR to keep it.\n"),
        }
    }

    /// Tells that a transfer will be repeated, unless `--silent`.
    pub(crate) fn note_retry(&self, reason: &str, pause: Duration) {
        if !self.settings.silent {
            let (reason, seconds) = (reason.trim_end_matches('.'), pause.as_secs());
            note(&format!(
                "mtls-client: warning: {reason}; trying again in {seconds} s\n"
            ));
        }
    }

    fn warn(&self, attempt: &Attempt) {
        // Where the JSON is, a program reads, and it is in there.
        let silent = self.settings.silent || (self.settings.json && self.all_to_stderr);
        if !silent {
            let mut warnings = Warnings::default();
            warnings.take(attempt);
            warnings.tell();
        }
    }
}

/// What may be wrong with connections that the policy lets pass: each thing once.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    /// The warning, the first target that it is for, and how many there are.
    groups: Vec<(String, String, usize)>,
}

impl Warnings {
    pub(crate) fn take(&mut self, attempt: &Attempt) {
        let failed = attempt.evidence.is_some() || attempt.failure.is_some();
        let verdict = attempt.verdict.as_ref().filter(|_| !failed);
        let Some(text) = verdict.and_then(warning) else {
            return;
        };
        match self.groups.iter_mut().find(|(known, ..)| *known == text) {
            Some((_, _, count)) => *count += 1,
            None => self.groups.push((text, attempt.target.to_string(), 1)),
        }
    }

    pub(crate) fn tell(&self) {
        for (text, first, count) in &self.groups {
            match count {
                1 => warn(&format!("{first}: {text}")),
                _ => warn(&format!("{count} targets: {text}")),
            }
        }
    }
}

/// What is wrong with a connection that the policy lets pass.
fn warning(verdict: &Verdict) -> Option<String> {
    match &verdict.outcome {
        Outcome::Verified(_) if verdict.independence.is_independent() => None,
        Outcome::Verified(_) => Some(format!(
            "{}, so whoever stands in one may stand in the other; send the side over another \
             network: --side if:NAME, or through a proxy",
            verdict.independence
        )),
        Outcome::Unverified(reason) => Some(format!("not verified: {reason}")),
        Outcome::Intercepted(_) => None,
    }
}

/// Tells of a failure.
pub(crate) fn error(failure: &Failure) {
    note(&format!("mtls-client: {failure}\n"));
}

/// Tells of what may be wrong, in one line.
pub(crate) fn warn(text: &str) {
    note(&format!("mtls-client: warning: {text}\n"));
}

/// Says in one line what one may want to know.
pub(crate) fn hint(text: &str) {
    note(&format!("mtls-client: {text}\n"));
}

/// Whoever does not read standard error need not.
fn note(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A reader that has left has seen enough.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let written = stdout::file().and_then(|mut stdout| stdout.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

pub(crate) fn not_written(error: io::Error) -> Failure {
    let message = format!("could not write the verdict to standard output: {error}.");
    Failure::new(Exit::Write, "write-error", message)
}
