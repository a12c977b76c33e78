//! `mtls-lab latency`: the time until an application may send, by several protocols, over links of
//! known round-trip times.
//!
//! Client and server are threads in namespaces of their own with two [emulated
//! links](crate::link) between them. Every round connects once by each [`Series`],
//! and waits after each until the network is idle, so that CPU time and bytes belong to one
//! connection. Each connection sends a request and gets a response, which count for the bytes but
//! not for the time.
//!
//! Without root there are no namespaces: then everything runs on loopback, which shows CPU times,
//! and the round trips are counted in a simulation in virtual time.

mod chart;
mod clients;
mod echo;
mod measure;
mod network;
mod noise;
pub mod report;
mod series;
mod server;
mod settings;
mod simulated;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use tokio::runtime::Builder;

use self::network::Network;
use self::report::Row;
use crate::{Result, netns};

pub use measure::{Costs, Results, Sample, Setting};
pub use series::{ROUND_TRIP_OF_LIMITS, Series};
pub use settings::LatencyArgs;
pub use simulated::RoundTrips;

/// Runs the measurement, prints its tables and writes its files.
#[must_use]
pub fn run(args: &LatencyArgs) -> ExitCode {
    match measured(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format!("error: the measurement failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn measured(args: &LatencyArgs) -> Result {
    if cfg!(debug_assertions) {
        print_error("note: this is no release build");
    }
    // Before the long part, to report an error at once.
    fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    let missing = match args.loopback {
        true => Some("--loopback".to_owned()),
        false => netns::unavailable(),
    };
    if let Some(reason) = &missing {
        print_error(&format!(
            "note: no emulated links ({reason}): the loopback shows processor time, the \
             simulation the round trips"
        ));
    }
    let results = match missing {
        None => over_links(args.settings(), args.seed)?,
        Some(_) => {
            let setting = vec![args.loopback_setting()];
            block_on(measure::run(&Network::Loopback, setting, args.seed))?
        }
    };
    write_all(args, &results)
}

/// Measures settings over two emulated links.
pub(crate) fn over_links(settings: Vec<Setting>, seed: u64) -> Result<Vec<Results>> {
    block_on(async {
        let network = Network::emulated(seed).await?;
        measure::run(&network, settings, seed).await
    })
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// The tables to standard output and to `latency.md`, the CSV files, and a chart of each setting.
fn write_all(args: &LatencyArgs, results: &[Results]) -> Result {
    let all: Vec<Vec<Row>> = results
        .iter()
        .map(|results| report::rows(results, args.seed))
        .collect();
    let text = text(results, &all);
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    fs::write(args.out.join("latency.md"), head(args) + &text)?;
    let file = |name: &str| File::create(args.out.join(name)).map(BufWriter::new);
    let mut samples = file("samples.csv")?;
    report::write_samples(&mut samples, results)?;
    samples.flush()?;
    let mut summary = file("summary.csv")?;
    report::write_summary(&mut summary, results, &all)?;
    summary.flush()?;
    let drawn = chart::draw_all(args, results, &all)?;
    writeln!(
        out,
        "\nwritten to {}: latency.md, samples.csv, summary.csv{drawn}",
        args.out.display()
    )?;
    Ok(())
}

/// The command and the conditions of the measurement.
fn head(args: &LatencyArgs) -> String {
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let build = if cfg!(debug_assertions) {
        "a debug build"
    } else {
        "a release build"
    };
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "# Latency tables\n\nMade by `mtls-lab {}` with {build}, on {processors} processors, seed \
         {}. The columns are explained in \
         [performance](../performance.md#latency-over-two-links).\n\n",
        words.join(" "),
        args.seed
    )
}

fn text(results: &[Results], all: &[Vec<Row>]) -> String {
    let mut text = String::new();
    for (results, rows) in results.iter().zip(all) {
        let simulated = RoundTrips::count(results.setting.side_ratio).with(&results.round_trips);
        text.push_str(&format!("**{}**", report::title(results)));
        text.push_str(&format!(
            ", {} connections of each\n\n",
            results.setting.samples
        ));
        if let Some(measured) = report::measured(results) {
            text.push_str(&format!("{measured}\n\n"));
        }
        text.push_str(&report::table(rows, &simulated));
        if let Some(reason) = &results.no_mptcp {
            let skipped = Series::MPTCP.map(Series::title).join("; ");
            text.push_str(&format!("\nSkipped: {skipped}: {reason}\n"));
        }
        if results.refused > 0 {
            text.push_str(&format!(
                "\nConnections over MPTCP that were refused, and repeated: {}\n",
                results.refused
            ));
        }
        if let Some(opened) = results.fast_opens {
            text.push_str(&format!(
                "\nSYNs with data that the server took: {opened}\n"
            ));
        }
        text.push('\n');
    }
    text
}

/// To standard error; a closed one is no reason to stop.
fn print_error(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
