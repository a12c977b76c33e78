//! `mtls-lab flood`: one kind of hostile traffic at a time, as much of it as this machine can make,
//! and what honest clients notice.

mod flooder;
mod kind;
mod report;

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Args;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::flooder::{ONE_SOURCE, Work};
use self::kind::Kind;
use self::report::{Flooded, Report, Service};
use crate::load::browse::Browsers;
use crate::load::level::Level;
use crate::load::site::{Site, settle};
use crate::load::traffic::{Pace, Tallies};
use crate::{Result, child};

pub use flooder::{FlooderArgs, run as run_flooder};

/// The longest flood: what is not done by then is not done.
const MAX_FLOOD: Duration = Duration::from_secs(600);
/// Connections of one flooding process, at most.
const PER_PROCESS: u64 = 15_000;
/// Flooding processes at a time, at most.
const MAX_PROCESSES: u64 = 7;
/// Honest connections of each kind before the first flood.
const WARM_UP: u32 = 10;
/// The pause between two looks at the resources of the programs.
const LOOK: Duration = Duration::from_millis(500);

/// Flood the servers and the relay, one kind of flood after the other, beside honest clients.
///
/// Starts mtls-server serve, terminate and passthrough, and mtls-client proxy, on loopback ports. The exit
/// status is 0 if every honest request from another address than a flooder's was answered, every
/// verdict was right at both ends, and every process returned to its level after each flood. It is 0
/// too where setpriv is missing and nothing ran: standard error says SKIPPED.
#[derive(Args, Clone, Debug)]
pub struct FloodArgs {
    /// Kind of flood; repeatable. Default: all
    #[arg(long, value_enum)]
    only: Vec<Kind>,
    /// Part of the full amount: 100,000 connections, or 1,000,000 Opens
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    scale: f64,
    /// Honest connections per second
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    rate: NonZeroU32,
    /// Seed of addresses and bytes
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    seed: u64,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Floods, and prints what was found.
#[must_use]
pub fn run(args: &FloodArgs) -> ExitCode {
    if !child::is_installed("setpriv") {
        let _ = writeln!(io::stderr(), "SKIPPED: setpriv is not installed");
        return ExitCode::SUCCESS;
    }
    let runtime = Builder::new_multi_thread().enable_all().build();
    let report = match runtime.map_err(Into::into) {
        Ok(runtime) => runtime.block_on(floods(args)),
        Err(error) => Err(error),
    };
    match report.and_then(|report| Ok((report.print(args.json)?, report))) {
        Ok(((), report)) if report.is_sound() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: the flood failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn floods(args: &FloodArgs) -> Result<Report> {
    let kinds = match args.only.is_empty() {
        true => <Kind as clap::ValueEnum>::value_variants(),
        false => &args.only,
    };
    let site = Site::start().await?;
    let browsers = Browsers::new(&site)?;
    let pace = Pace::per_second(args.rate);
    let warm_up = pace.count(WARM_UP * browsers.kinds());
    say("warming up");
    browsers.run(warm_up).await?;
    settle(&site, None).await?;
    say("measuring the idle system");
    let idle = browsers.run(warm_up).await?;
    let mut floods = Vec::new();
    for (&kind, seed) in kinds.iter().zip(args.seed..) {
        let amount = (kind.amount() as f64 * args.scale) as u64;
        say(&format!("{amount} × {}", kind.title()));
        floods.push(flood(&site, &browsers, pace, kind, (amount, seed)).await?);
    }
    Ok(Report { idle, floods })
}

/// One flood, beside honest clients.
async fn flood(
    site: &Site,
    browsers: &Browsers,
    pace: Pace,
    kind: Kind,
    (amount, seed): (u64, u64),
) -> Result<Flooded> {
    let before = settle(site, None).await?;
    let cpu_before = cpu(site)?;
    let started = Instant::now();
    let mut flooders = start(site, kind, amount, seed)?;
    let mut honest = Tallies::new();
    let mut behind = kind.has_one_source().then(Tallies::new);
    let mut peaks = before.clone();
    let mut work = Work::default();
    // One round of all kinds at a time, until the flood is over.
    while !flooders.is_empty() {
        let (seen, fellows) = tokio::try_join!(
            watched(site, &mut peaks, browsers.run(pace.count(browsers.kinds()))),
            round_behind(site, pace, behind.is_some()),
        )?;
        add(&mut honest, seen);
        if let Some(behind) = &mut behind {
            add(behind, fellows);
        }
        while let Some(ended) = flooders.try_join_next() {
            work.add(ended??);
        }
    }
    let time = started.elapsed();
    let cpus = cpu(site)?;
    let after = settle(site, Some(&before)).await?;
    let names = site.services().map(|program| program.name);
    let levels = before.into_iter().zip(peaks).zip(after);
    let times = cpus.into_iter().zip(cpu_before);
    let services =
        names
            .zip(levels)
            .zip(times)
            .map(
                |((name, ((before, peak), after)), (cpu, cpu_before))| Service {
                    name,
                    before,
                    peak,
                    after,
                    cpu: cpu.saturating_sub(cpu_before),
                },
            );
    Ok(Flooded {
        kind,
        work,
        time,
        honest,
        behind,
        services: services.collect(),
    })
}

/// Starts the processes that flood. Each returns how much of it a server took.
fn start(site: &Site, kind: Kind, amount: u64, seed: u64) -> Result<JoinSet<Result<Work>>> {
    let processes = amount.div_ceil(PER_PROCESS).clamp(1, MAX_PROCESSES);
    let mut flooders = JoinSet::new();
    for process in 0..processes {
        let mut command = child::tied(std::env::current_exe()?);
        command.arg("flooder").arg(kind.argument());
        command
            .arg("--amount")
            .arg(amount.div_ceil(processes).to_string());
        command
            .arg("--seed")
            .arg((seed * 1_000 + process).to_string());
        command.arg("--ca").arg(site.ca());
        for program in [&site.serve, &site.terminate, &site.passthrough] {
            command.arg("--to").arg(program.address.to_string());
        }
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let mut command = tokio::process::Command::from(command);
        let output = command.kill_on_drop(true).output();
        flooders.spawn(async move {
            let output = tokio::time::timeout(MAX_FLOOD, output).await??;
            let text = String::from_utf8(output.stdout)?;
            Ok(Work::parse(&text).ok_or("a flooding process failed")?)
        });
    }
    Ok(flooders)
}

/// Honest clients from the flooder's address, if it has only one.
async fn round_behind(site: &Site, pace: Pace, has_one_source: bool) -> Result<Tallies> {
    match has_one_source {
        true => {
            let browsers = Browsers::from_address(site, ONE_SOURCE)?;
            browsers.run(pace.count(browsers.kinds())).await
        }
        false => Ok(Tallies::new()),
    }
}

/// Runs honest clients, and notes the greatest levels of the programs meanwhile.
async fn watched(
    site: &Site,
    peaks: &mut [Level],
    clients: impl Future<Output = Result<Tallies>>,
) -> Result<Tallies> {
    let watching = async {
        loop {
            for (program, peak) in site.services().zip(peaks.iter_mut()) {
                // A status page may be slow to answer under a flood: its process's own figures do.
                *peak = peak.max(program.process_level()?);
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        done = clients => done,
        failed = watching => failed,
    }
}

fn add(sum: &mut Tallies, tallies: Tallies) {
    for (name, tally) in tallies {
        sum.entry(name).or_default().merge(&tally);
    }
}

fn cpu(site: &Site) -> Result<Vec<Duration>> {
    site.services().map(|program| program.cpu()).collect()
}

fn say(what: &str) {
    let _ = writeln!(io::stderr(), "flood: {what}");
}
