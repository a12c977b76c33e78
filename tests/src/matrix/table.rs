//! How the table looks, on a terminal and in Markdown.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

use super::cell::{Cell, Outcome, Protocol};
use super::report::Report;

const NAMES: usize = 7;
const SAYS: usize = 25;
const COLUMN: usize = 12;

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const DENIED: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WRONG: Style = AnsiColor::Red.on_default().bold().invert();

/// A table for each kind of trust. Colours are written always: the writer drops them where they
/// are not wanted.
pub(super) fn terminal(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let protocols = report.protocols();
    for trust in report.trusts() {
        writeln!(out, "\n{STRONG}{}{STRONG:#}\n", trust.title())?;
        write!(out, "{:width$}", "", width = NAMES + SAYS)?;
        for protocol in &protocols {
            write!(out, "{STRONG}{:<COLUMN$}{STRONG:#}", protocol.title())?;
        }
        writeln!(out)?;
        for row in report.rows(trust) {
            if let Some(first) = row.first() {
                let attackers = &first.attackers;
                write!(out, "{STRONG}{:<NAMES$}{STRONG:#}", attackers.name)?;
                write!(out, "{FAINT}{:<SAYS$}{FAINT:#}", attackers.says)?;
            }
            for cell in row {
                terminal_cell(out, cell)?;
            }
            writeln!(out)?;
        }
    }
    writeln!(
        out,
        "\n{FAINT}The first mark is what the threat model says, the second what happened.\n\
         P reads a path, A also changes it; - they communicate, / they do not; a dot: none.\n\
         The primary path is first. MTLS is multipath TLS, not mutual TLS.{FAINT:#}\n"
    )?;
    for (outcome, style, says) in [
        (
            Outcome::Protected,
            GOOD,
            "the client used the connection, and no attacker read a secret",
        ),
        (
            Outcome::Refused,
            DENIED,
            "there was no connection, and no attacker read a secret",
        ),
        (
            Outcome::Broken,
            BAD,
            "an attacker read the client's cookie in the clear",
        ),
    ] {
        let (mark, word, count) = (mark(outcome), word(outcome), report.count(outcome));
        writeln!(out, "{style}{mark} {word:<9}{style:#}{count:>4}  {says}")?;
    }
    for (reason, count) in report.skipped() {
        writeln!(out, "{FAINT}– skipped  {count:>4}  {reason}{FAINT:#}")?;
    }
    for cell in report.cells() {
        if let Some((expected, observed)) = cell.difference() {
            let (expected, observed) = (expected.as_str(), observed.as_str());
            writeln!(
                out,
                "\n{WRONG}{}{WRONG:#}: expected {expected}, observed {observed}",
                title(cell),
            )?;
            worst_attempt(out, cell)?;
        }
    }
    conclusion(out, report)
}

fn terminal_cell(out: &mut impl Write, cell: &Cell) -> io::Result<()> {
    let Ok(expected) = &cell.expected else {
        return write!(out, "{FAINT}{:<COLUMN$}{FAINT:#}", "– skipped");
    };
    let observed = cell.observed();
    let style = match (cell.as_expected(), observed) {
        (false, _) => WRONG,
        (_, Outcome::Protected) => GOOD,
        (_, Outcome::Refused) => DENIED,
        (_, Outcome::Broken | Outcome::Failed) => BAD,
    };
    let (expected, mark, word) = (mark(*expected), mark(observed), word(observed));
    let gap = COLUMN.saturating_sub(4 + word.len());
    write!(
        out,
        "{FAINT}{expected}{FAINT:#} {style}{mark} {word}{style:#}{:gap$}",
        ""
    )
}

fn worst_attempt(out: &mut impl Write, cell: &Cell) -> io::Result<()> {
    let Some(attempt) = cell.worst() else {
        return writeln!(out, "  nothing could be tried");
    };
    writeln!(out, "  attack: {}", attempt.attack)?;
    writeln!(out, "  client: {}", attempt.client)?;
    for report_of in &attempt.attackers {
        let (who, saw) = (report_of.who, &report_of.saw);
        match report_of.secrets.as_slice() {
            [] => writeln!(out, "  attacker {who}: {saw}, no secret")?,
            secrets => writeln!(out, "  attacker {who}: {saw}, and read {secrets:?}")?,
        }
    }
    Ok(())
}

fn conclusion(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let (cells, attempts) = (report.attacked(), report.attempts());
    let seconds = report.seconds();
    match report.differences() {
        _ if cells == 0 => writeln!(out, "\nNo cell was attacked.\n"),
        0 => writeln!(
            out,
            "\n{GOOD}All {cells} cells are as expected{GOOD:#}: {attempts} attacks in {seconds:.1} s.\n"
        ),
        wrong => writeln!(
            out,
            "\n{WRONG}{wrong} of {cells} cells are not as expected{WRONG:#}: {attempts} attacks \
             in {seconds:.1} s.\n"
        ),
    }
}

/// The same for a page.
pub(super) fn markdown(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let protocols = report.protocols();
    for trust in report.trusts() {
        writeln!(out, "**{}**\n", trust.title())?;
        let heads: Vec<_> = protocols.iter().map(|one| one.title()).collect();
        writeln!(out, "| Attackers | | {} |", heads.join(" | "))?;
        writeln!(out, "|---|---|{}", "---|".repeat(heads.len()))?;
        for row in report.rows(trust) {
            let Some(first) = row.first() else { continue };
            let cells: Vec<_> = row.iter().map(markdown_cell).collect();
            let attackers = &first.attackers;
            let cells = cells.join(" | ");
            writeln!(
                out,
                "| `{}` | {} | {cells} |",
                attackers.name, attackers.says
            )?;
        }
        writeln!(out)?;
    }
    for (reason, count) in report.skipped() {
        writeln!(out, "–: {reason} ({count} cells).\n")?;
    }
    writeln!(
        out,
        "{} cells, {} attacks, {} not as expected.",
        report.attacked(),
        report.attempts(),
        report.differences()
    )
}

fn markdown_cell(cell: &Cell) -> String {
    let shown = |outcome: Outcome| match outcome {
        Outcome::Broken => "**broken**",
        other => word(other),
    };
    match cell.difference() {
        _ if cell.skipped().is_some() => "–".to_owned(),
        None => shown(cell.observed()).to_owned(),
        Some((expected, observed)) => {
            format!("{} (expected: {})", shown(observed), shown(expected))
        }
    }
}

/// A cell's name, as `--expect` takes it.
fn title(cell: &Cell) -> String {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let protocol: Protocol = cell.protocol;
    format!(
        "{} {} {}",
        name(cell.trust.to_possible_value()),
        cell.attackers.name,
        name(protocol.to_possible_value())
    )
}

fn mark(outcome: Outcome) -> char {
    match outcome {
        Outcome::Protected => '✔',
        Outcome::Refused => '⊘',
        Outcome::Broken => '✘',
        Outcome::Failed => '?',
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Protected => "ok",
        other => other.as_str(),
    }
}
