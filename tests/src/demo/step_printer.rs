//! The output of the demo.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

/// Width of the column of names.
const NAMES: usize = 13;

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const STEP: Style = AnsiColor::Cyan.on_default().bold();
const PICTURE: Style = AnsiColor::Yellow.on_default();

/// Prints numbered steps. Colours are always written: the writer drops them where they
/// are not wanted.
pub(super) struct StepPrinter<W> {
    out: W,
    steps: u32,
}

impl<W: Write> StepPrinter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, steps: 0 }
    }

    pub(super) fn title(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{STRONG}{text}{STRONG:#}")
    }

    /// Starts the next step.
    pub(super) fn step(&mut self, text: &str) -> io::Result<()> {
        self.steps += 1;
        let number = self.steps;
        writeln!(
            self.out,
            "\n{STEP}{number}{STEP:#}  {STRONG}{text}{STRONG:#}"
        )
    }

    pub(super) fn picture(&mut self, lines: &[&str]) -> io::Result<()> {
        writeln!(self.out)?;
        for line in lines {
            writeln!(self.out, "      {PICTURE}{line}{PICTURE:#}")?;
        }
        writeln!(self.out)
    }

    /// Prints a fact.
    pub(super) fn fact(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.line(" ", FAINT, name, text)
    }

    /// Prints a success of the client.
    pub(super) fn good(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.line("✔", GOOD, name, text)
    }

    /// Prints a success of the attacker.
    pub(super) fn bad(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.line("✘", BAD, name, text)
    }

    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "   {FAINT}{text}{FAINT:#}")
    }

    /// Prints that every step had the expected result.
    pub(super) fn success(&mut self, took: Duration) -> io::Result<()> {
        let took = took.as_secs_f64();
        writeln!(
            self.out,
            "\n{GOOD}Every step had the expected result{GOOD:#}, in {took:.1} s. \
             Same server, same attacker: plain TLS was fooled,\nmultipath TLS was not.\n"
        )
    }

    /// Prints that a step failed.
    pub(super) fn failed(&mut self, why: &str) -> io::Result<()> {
        writeln!(self.out, "\n{BAD}A step failed{BAD:#}: {why}\n")
    }

    fn line(&mut self, mark: &str, style: Style, name: &str, text: &str) -> io::Result<()> {
        writeln!(self.out, "   {style}{mark} {name:<NAMES$}{style:#}{text}")
    }
}
