//! The time until an application may send: one way to connect beside the other, over links of
//! known round trips, in one run.
//!
//! Client and server are threads in namespaces of their own with two [emulated
//! links](crate::link) between them. Every round connects once by each [`Series`], in an order of
//! chance, and waits after each until nothing moves any more: so what else the machine does falls
//! on all of them alike, and processor time and bytes belong to one connection. Each connection
//! asks a question and gets its answer, which counts for the bytes but not for the time.
//!
//! Without root there are no namespaces: then all of it runs on the loopback, which shows what the
//! processors do, and the round trips are those of the simulation in virtual time.

mod chart;
mod clients;
mod measure;
mod meter;
mod noise;
mod place;
pub mod report;
mod series;
mod server;
mod settings;
mod simulated;
pub mod stats;
mod talk;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use self::place::Place;
use self::report::Row;
use crate::{Result, netns};

pub use measure::{Sample, Setting, Taken};
pub use series::Series;
pub use settings::LatencyArgs;
pub use simulated::RoundTrips;

/// Runs the measurement, prints its tables and writes its files.
#[must_use]
pub fn run(args: &LatencyArgs) -> ExitCode {
    match measured(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: the measurement failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn measured(args: &LatencyArgs) -> Result {
    if cfg!(debug_assertions) {
        say("note: this is no release build");
    }
    // Before the long part: what cannot be written is known at once.
    fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    let missing = match args.loopback {
        true => Some("--loopback".to_owned()),
        false => netns::unavailable(),
    };
    if let Some(reason) = &missing {
        say(&format!(
            "note: no emulated links ({reason}): the loopback shows processor time, the \
             simulation the round trips"
        ));
    }
    let taken = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(take(args, missing.is_none()))?;
    write_all(args, &taken)
}

async fn take(args: &LatencyArgs, links: bool) -> Result<Vec<Taken>> {
    let (place, settings) = match links {
        true => (Place::emulated(args.seed).await?, args.settings()),
        false => (Place::Loopback, vec![args.loopback_setting()]),
    };
    let connections: u64 = settings
        .iter()
        .map(|setting| u64::from(setting.samples))
        .sum();
    let bar = ProgressBar::new(connections * Series::ALL.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{wide_bar} {pos}/{len} connections, {eta} left",
    )?);
    measure::run(&place, settings, args.seed, bar).await
}

/// The tables to standard output and to `latency.md`, the CSV files, and a chart of each setting.
fn write_all(args: &LatencyArgs, taken: &[Taken]) -> Result {
    let all: Vec<Vec<Row>> = taken
        .iter()
        .map(|taken| report::rows(taken, args.seed))
        .collect();
    let text = text(taken, &all);
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    fs::write(args.out.join("latency.md"), head(args) + &text)?;
    let file = |name: &str| File::create(args.out.join(name)).map(BufWriter::new);
    let mut samples = file("samples.csv")?;
    report::write_samples(&mut samples, taken)?;
    samples.flush()?;
    let mut summary = file("summary.csv")?;
    report::write_summary(&mut summary, taken, &all)?;
    summary.flush()?;
    let drawn = chart::draw_all(args, taken, &all)?;
    writeln!(
        out,
        "\nwritten to {}: latency.md, samples.csv, summary.csv{drawn}",
        args.out.display()
    )?;
    Ok(())
}

/// How the tables were made, for those who read them elsewhere.
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

fn text(taken: &[Taken], all: &[Vec<Row>]) -> String {
    let mut text = String::new();
    for (taken, rows) in taken.iter().zip(all) {
        let simulated = RoundTrips::count(taken.setting.side_ratio);
        text.push_str(&format!("**{}**", report::title(taken)));
        text.push_str(&format!(
            ", {} connections of each\n\n",
            taken.setting.samples
        ));
        if let Some(measured) = report::measured(taken) {
            text.push_str(&format!("{measured}\n\n"));
        }
        text.push_str(&report::table(rows, &simulated));
        if let Some(opened) = taken.fast_opens {
            text.push_str(&format!(
                "\nSYNs with data that the server took: {opened}\n"
            ));
        }
        text.push('\n');
    }
    text
}

/// To standard error, whose end nobody minds.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
