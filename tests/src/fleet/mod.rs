//! `mtls-lab fleet`: three machines of one service behind HAProxy, two Redis engines, and the faults
//! of all of them under load, with real processes.

mod delay;
mod processes;
mod report;
mod scenario;
mod sentinel;
mod traffic;

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use self::processes::Fleet;
use self::report::Row;
use self::traffic::{Clients, Tally};
use crate::{Result, child};

pub use scenario::Scenario;

/// The time in which a fleet must be well again after a fault: three times the life of a member.
const RECOVERY: Duration = Duration::from_secs(90);

/// Run three servers behind HAProxy with a shared registry, and break its parts under load.
///
/// Starts mtls-server, redis-server and haproxy on loopback ports, and ends them afterwards. One client in twenty is
/// attacked by a man in the middle. The exit status is 0 if no honest client reported an
/// interception, no attacker was taken for the server, and without a fault every client was
/// verified and every attack detected.
#[derive(Args, Clone, Debug)]
pub struct FleetArgs {
    /// Scenarios to run [default: all]
    #[arg(value_enum)]
    pub scenarios: Vec<Scenario>,
    /// Number of connections without a fault
    #[arg(long, value_name = "NUMBER", default_value = "10000")]
    pub connections: NonZeroU32,
    /// Number of connections in each scenario with a fault
    #[arg(long, value_name = "NUMBER", default_value = "1500")]
    pub faulty: NonZeroU32,
    /// Number of clients that connect at a time
    #[arg(long, value_name = "NUMBER", default_value = "16")]
    pub clients: NonZeroU32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Runs the scenarios and prints the table.
#[must_use]
pub fn run(args: &FleetArgs) -> ExitCode {
    if let Some(program) = missing_program() {
        let _ = writeln!(io::stderr(), "SKIPPED: {program} is not installed");
        return ExitCode::SUCCESS;
    }
    match run_in_runtime(args).and_then(|rows| print(args, &rows)) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: the fleet failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn missing_program() -> Option<&'static str> {
    let programs = ["redis-server", "redis-cli", "haproxy", "setpriv"];
    programs
        .into_iter()
        .find(|program| !child::is_installed(program))
}

fn print(args: &FleetArgs, rows: &[Row]) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    match args.json {
        true => report::json(&mut out, rows)?,
        false => report::table(&mut out, rows)?,
    }
    Ok(match rows.iter().all(Row::is_sound) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn run_in_runtime(args: &FleetArgs) -> Result<Vec<Row>> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run_scenarios(args))
}

async fn run_scenarios(args: &FleetArgs) -> Result<Vec<Row>> {
    let selected = match args.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        some => some,
    };
    let mut rows = Vec::new();
    for scenarios in selected.chunk_by(|one, next| one.registry() == next.registry()) {
        let mut fleet = Fleet::start(scenarios[0].registry()).await?;
        for &scenario in scenarios {
            until_well(&fleet).await?;
            let row = run_scenario(args, &mut fleet, scenario).await?;
            let _ = writeln!(io::stderr(), "{}", row.summary());
            rows.push(row);
        }
    }
    Ok(rows)
}

async fn run_scenario(args: &FleetArgs, fleet: &mut Fleet, scenario: Scenario) -> Result<Row> {
    let is_fault = scenario != Scenario::NoFault;
    let count = match is_fault {
        true => args.faulty.get(),
        false => args.connections.get(),
    };
    let pause = match is_fault {
        true => Duration::from_millis(100),
        false => Duration::ZERO,
    };
    let clients = Arc::new(Clients::new(fleet, count, pause)?);
    let traffic = clients.start(args.clients.get());
    clients.until_begun(count / 4).await;
    let fault = scenario.begin(fleet).await?;
    clients.until_begun(count / 4 * 3).await;
    scenario.end(fleet, fault).await?;
    let mended = Instant::now();
    let tally = traffic.join().await?;
    until_well(fleet).await?;
    let recovery = is_fault.then(|| mended.elapsed());
    Ok(Row::new(scenario, tally, recovery))
}

/// Waits until every client is verified and an attack is detected.
async fn until_well(fleet: &Fleet) -> Result {
    let well = async {
        loop {
            let clients = Arc::new(Clients::new(fleet, 20, Duration::ZERO)?);
            let tally = clients.start(1).join().await?;
            if tally.is_all_verified() {
                return Ok(());
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(RECOVERY, well)
        .await
        .map_err(|_| "the fleet is not well again in time")?
}
