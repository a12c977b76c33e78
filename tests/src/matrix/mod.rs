//! `mtls-lab matrix`: the protocols that each attacker breaks, by attacks that really run.
//!
//! Every cell of the table is a client, a server and attackers on real sockets. The expected
//! result comes from the threat model, the observed one from the attack; a difference is a failure.

mod attempt;
mod cell;
mod deployment;
mod expected;
mod mptcp;
mod outcome;
mod quic;
mod report;
mod site;
mod table;
mod variants;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::runtime::Builder;

use self::cell::Cell;
use self::expected::Selection;
use self::report::Report;
use crate::Result;
use crate::progress::Progress;

pub use self::cell::{Outcome, Protocol, Trust};
pub use self::expected::Claim;

/// How many cells run at a time.
const CONCURRENT: usize = 16;
/// How many more run at a time in network namespaces, most of them waiting for a deadline.
const CONCURRENT_IN_NAMESPACES: usize = 6;

/// Run every attack of the threat model on every protocol, and compare the results with its claims.
///
/// Each cell has a client, a server and attackers on real sockets of 127.0.0.0/8: eavesdroppers,
/// whose records are searched for the secrets; men in the middle with their own key, a certificate
/// from a rogue CA, or the server's stolen key; and attackers on side paths, alone or communicating
/// with the others. MTLS is multipath TLS, not mutual TLS.
///
/// The column `mtls-mptcp` runs in network namespaces with emulated links. It is skipped, with the
/// reason, without root or without Multipath TCP.
///
/// Exit status: 0 if every result is as expected, 1 if a result differs.
#[derive(Args, Clone, Debug)]
pub struct MatrixArgs {
    /// Print Markdown instead of tables for a terminal
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Print one JSON object with every cell and its results
    #[arg(long)]
    pub json: bool,
    /// Attack this protocol only (repeatable)
    #[arg(long, value_name = "NAME")]
    pub protocol: Vec<Protocol>,
    /// Use this assumption about certificates only (repeatable)
    #[arg(long, value_name = "NAME")]
    pub trust: Vec<Trust>,
    /// Run the attacks of this row only, such as `A/.` (repeatable)
    #[arg(long, value_name = "NAME", value_parser = expected::row_name)]
    pub attackers: Vec<String>,
    /// Expect another result of one cell, to test that a difference is reported
    ///
    /// Example: `rogue-ca A-A mtls-exporter refused`.
    #[arg(long, value_name = "TRUST ATTACKERS PROTOCOL RESULT")]
    pub expect: Vec<Claim>,
}

/// Runs the attacks, and reports whether every result was as expected.
#[must_use]
pub fn run(args: &MatrixArgs) -> ExitCode {
    let done = measured(args).and_then(|report| {
        print(args, &report)?;
        Ok(report.differences() == 0)
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: the matrix failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measured(args: &MatrixArgs) -> Result<Report> {
    let selection = Selection {
        protocols: &args.protocol,
        trusts: &args.trust,
        attackers: &args.attackers,
    };
    let cells = selection.cells(&args.expect, obstacle(&args.protocol).as_deref())?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let started = Instant::now();
    let cells = runtime.block_on(attack(cells));
    Ok(Report::new(cells, started.elapsed()))
}

/// The reason why attacks in network namespaces are skipped, if any protocol needs these.
fn obstacle(protocols: &[Protocol]) -> Option<String> {
    let needs_them = Protocol::ALL.into_iter().any(|protocol| {
        protocol.uses_namespaces() && (protocols.is_empty() || protocols.contains(&protocol))
    });
    needs_them.then(crate::mptcp::unavailable).flatten()
}

async fn attack(cells: Vec<Cell>) -> Vec<Cell> {
    let progress = Progress::new("attacks", cells.len() as u64);
    let cells = cells.into_iter().enumerate();
    let (inside, outside): (Vec<_>, Vec<_>) =
        cells.partition(|(_, cell)| cell.protocol.uses_namespaces());
    let (inside, outside) = tokio::join!(
        attack_some(inside, CONCURRENT_IN_NAMESPACES, &progress),
        attack_some(outside, CONCURRENT, &progress),
    );
    let mut done = [inside, outside].concat();
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, cell)| cell).collect()
}

/// Attacks cells, so many at a time. They keep their positions.
async fn attack_some(
    cells: Vec<(usize, Cell)>,
    concurrent: usize,
    progress: &Progress,
) -> Vec<(usize, Cell)> {
    let mut running = stream::iter(cells)
        .map(|(position, cell)| async move {
            let attempts = tokio::spawn(attempt::run_cell(cell.clone())).await;
            let cell = Cell {
                // A panic leaves no attempt, and a cell without one has failed.
                attempts: attempts.unwrap_or_default(),
                ..cell
            };
            (position, cell)
        })
        .buffer_unordered(concurrent);
    let mut done = Vec::new();
    while let Some(cell) = running.next().await {
        progress.step();
        done.push(cell);
    }
    done
}

fn print(args: &MatrixArgs, report: &Report) -> Result {
    match (args.json, args.markdown) {
        (true, _) => {
            let json = serde_json::to_string(report)?;
            writeln!(io::stdout().lock(), "{json}")?;
        }
        (_, true) => table::markdown(&mut io::stdout().lock(), report)?,
        _ => table::terminal(&mut anstream::stdout().lock(), report)?,
    }
    Ok(())
}

/// Whether the reader of standard output has closed it, which is no error.
fn is_broken_pipe(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
