//! Messages: verdicts, warnings and errors, on standard output and standard error.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use mtls_core::{Outcome, Verdict};

use super::style::Style;
use super::text::printable;
use super::{json, report, stdout};
use crate::connect::attempt::Attempt;
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::failure::Failure;

/// Writes the results of connections.
#[derive(Clone, Copy)]
pub(crate) struct Messages<'a> {
    settings: &'a Settings,
    reports: Reports,
    /// Reserves standard output for data: the JSON goes to standard error too.
    json_to_stderr: bool,
}

/// The stream of the reports for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reports {
    Stdout,
    Stderr,
    None,
}

impl<'a> Messages<'a> {
    pub(crate) fn new(settings: &'a Settings, reports: Reports) -> Self {
        Self {
            settings,
            reports,
            json_to_stderr: false,
        }
    }

    /// Writes JSON to standard error instead of standard output.
    pub(crate) fn json_to_stderr(mut self) -> Self {
        self.json_to_stderr = true;
        self
    }

    /// Writes the verdict on a connection, and its alarm, error or warnings.
    ///
    /// # Errors
    /// If the verdict cannot be written to standard output.
    pub(crate) fn result(&self, attempt: &Attempt) -> Result<(), Failure> {
        let written = self.verdict(attempt);
        self.notices(&attempt.notices);
        match (&attempt.evidence, &attempt.failure) {
            (Some(_), _) => self.alarm(attempt),
            (None, Some(failure)) => error(failure),
            (None, None) => self.warnings(attempt),
        }
        written
    }

    /// Writes warnings about the known hosts.
    pub(crate) fn notices(&self, notices: &[String]) {
        for notice in notices.iter().filter(|_| !self.settings.output.silent) {
            warn(notice);
        }
    }

    /// Writes only the verdict.
    ///
    /// # Errors
    /// If it cannot be written to standard output.
    pub(crate) fn verdict(&self, attempt: &Attempt) -> Result<(), Failure> {
        if self.settings.output.json {
            let line = json::line(attempt, self.settings.paths.primary.kind());
            let line = line.map_err(|error| not_written(error.into()))?;
            return self.write_json(&format!("{line}\n"));
        }
        match self.reports {
            Reports::Stdout => {
                let text = report::report(attempt, Style::of(&io::stdout()));
                return print(&text).map_err(not_written);
            }
            Reports::Stderr => print_error(&report::report(attempt, Style::of(&io::stderr()))),
            Reports::None => {}
        }
        Ok(())
    }

    fn write_json(&self, line: &str) -> Result<(), Failure> {
        if self.json_to_stderr {
            print_error(line);
            return Ok(());
        }
        print(line).map_err(not_written)
    }

    /// Reports an interception and saves its evidence, if there is one.
    pub(crate) fn alarm(&self, attempt: &Attempt) {
        let Some(evidence) = &attempt.evidence else {
            return;
        };
        print_error(&report::alarm(attempt, evidence, Style::of(&io::stderr())));
        match &self.settings.verify.evidence_dir {
            Some(dir) => match evidence.save(dir) {
                Ok(path) => print_error(&format!("Evidence saved: {}\n", path.display())),
                Err(error) => print_error(&format!("mtls-client: evidence NOT saved: {error}\n")),
            },
            None => print_error("Evidence not saved; use --evidence-dir DIR to save it.\n"),
        }
    }

    /// Announces the retry of a transfer, unless `--silent`.
    pub(crate) fn retry(&self, reason: &str, pause: Duration) {
        if !self.settings.output.silent {
            warn(&format!("{reason}; retrying in {} s", pause.as_secs()));
        }
    }

    fn warnings(&self, attempt: &Attempt) {
        // A program that reads the JSON from standard error finds the warning there.
        let in_json = self.settings.output.json && self.json_to_stderr;
        if !self.settings.output.silent && !in_json {
            let mut warnings = Warnings::default();
            warnings.add(attempt);
            warnings.write();
        }
    }
}

/// Warnings about connections that the policy accepts, each text once.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    /// The text, the first target with it, and the number of targets.
    groups: Vec<(String, String, usize)>,
}

impl Warnings {
    pub(crate) fn add(&mut self, attempt: &Attempt) {
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

    pub(crate) fn write(&self) {
        for (text, first, count) in &self.groups {
            match count {
                1 => warn(&format!("{first}: {text}")),
                _ => warn(&format!("{count} targets: {text}")),
            }
        }
    }
}

/// The warning about a connection that the policy accepts.
fn warning(verdict: &Verdict) -> Option<String> {
    match &verdict.outcome {
        Outcome::Verified(_) if verdict.independence().is_independent() => None,
        Outcome::Verified(_) => Some(format!(
            "{}, so one attacker may be on both; use another network for the side path: \
             --side if:NAME, or a proxy",
            verdict.independence()
        )),
        Outcome::Unverified(reason) => Some(format!("not verified: {reason}")),
        Outcome::Pinned(reason) => Some(format!(
            "not verified: {reason}; accepted because the server showed a key of earlier verified \
             connections"
        )),
        Outcome::Intercepted(_) => None,
    }
}

/// Writes an error.
pub(crate) fn error(failure: &Failure) {
    note(&failure.message);
}

/// Writes a warning.
pub(crate) fn warn(text: &str) {
    note(&format!("warning: {text}"));
}

/// Writes one line of information to standard error. A peer or a file may have chosen a part of it.
pub(crate) fn note(text: &str) {
    print_error(&format!("mtls-client: {}\n", printable(text)));
}

/// Writes a text to standard error. A closed standard error is not an error.
pub(crate) fn print_error(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a text to standard output. A reader that has closed the pipe has read enough.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let written = stdout::file().and_then(|mut stdout| stdout.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

pub(crate) fn not_written(error: io::Error) -> Failure {
    let message = format!("could not write the verdict to standard output: {error}");
    Failure::new(Exit::Write, "write-error", message)
}
