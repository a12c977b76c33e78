//! `mtls-lab bench`: the costs of multipath TLS on loopback, compared with plain TLS and with other
//! programs, as one table.
//!
//! Client, server and relays have a thread and a current-thread runtime each, like hosts of one
//! core. All benchmarks use the same method. A ratio is that of two medians, with
//! its 95 % confidence interval.

mod connections;
mod figure;
mod http;
mod inherited;
mod instructions;
mod latency;
mod memory;
mod quic;
mod registry;
mod relay;
mod server;
mod startup;
mod verifications;
mod worker;

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::figure::{Figure, Quantity, Subject};
use crate::Result;
use crate::prng::Prng;
use crate::progress::Progress;
use crate::rounds::{Rounds, Subjects};

/// Measure the costs of multipath TLS, and compare them with plain TLS and with other programs.
///
/// Use a release build: `cargo run --release -p mtls-lab -- bench`. Benchmarks that need a missing
/// program or permission are skipped with a note.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Benchmarks to run [default: all]
    #[arg(value_enum)]
    pub benchmarks: Vec<Benchmark>,
    /// Number of rounds; each measures every subject
    #[arg(long, default_value = "20")]
    pub rounds: NonZeroU32,
    /// Measure only subjects whose name contains TEXT, to profile one of them
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub only: String,
    /// Seed for the order of subjects in each round
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub seed: u64,
    /// Directory with the programs mtls-client and mtls-server [default: that of mtls-lab]
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Benchmark {
    /// Connection setup, CPU time and throughput, against plain TLS
    Connections,
    /// QUIC connections, against plain quinn
    Quic,
    /// Resumed connections that inherit their verification, against resumed TLS
    Inherited,
    /// Verifications over one pooled side connection
    Verifications,
    /// Memory of pending handshakes, silent connections and side connections
    Memory,
    /// A registry on a Redis server, against the registry in memory
    Registry,
    /// Start of the programs, against curl, and their size
    Startup,
    /// Relays, against HAProxy in TCP mode and socat
    Relay,
    /// Requests to mtls-server, against plain axum
    Http,
    /// Connection setup over two emulated links with a round-trip time of 0.2 ms
    Latency,
    /// Instructions of a handshake and of mtls-client get, counted by valgrind
    Instructions,
}

/// All figures.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    rounds: u32,
    seed: u64,
    processors: usize,
    release_build: bool,
    figures: &'a [Figure],
}

/// Runs the benchmarks and prints their figures.
#[must_use]
pub fn run(args: &BenchArgs) -> ExitCode {
    if cfg!(debug_assertions) {
        note("this is not a release build");
    }
    let mut figures = Vec::new();
    let measured = measure(args, &mut figures);
    // The figures of the benchmarks before one that failed took minutes.
    let printed = print(args, &figures).map_err(Into::into);
    match measured.and(printed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &BenchArgs, figures: &mut Vec<Figure>) -> Result {
    let selected = match args.benchmarks.as_slice() {
        [] => Benchmark::value_variants(),
        some => some,
    };
    for benchmark in selected {
        figures.extend(match benchmark {
            Benchmark::Connections => connections::run(args)?,
            Benchmark::Quic => quic::run(args)?,
            Benchmark::Inherited => inherited::run(args)?,
            Benchmark::Verifications => verifications::run(args)?,
            Benchmark::Memory => memory::run()?,
            Benchmark::Registry => registry::run(args)?,
            Benchmark::Startup => startup::run(args)?,
            Benchmark::Relay => relay::run(args)?,
            Benchmark::Http => http::run(args)?,
            Benchmark::Latency => latency::run(args)?,
            Benchmark::Instructions => instructions::run(args)?,
        });
    }
    Ok(())
}

fn print(args: &BenchArgs, figures: &[Figure]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !args.json {
        return figure::table(&mut out, figures);
    }
    let report = Report {
        schema: 2,
        rounds: args.rounds.get(),
        seed: args.seed,
        processors: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        release_build: !cfg!(debug_assertions),
        figures,
    };
    writeln!(out, "{}", serde_json::to_string(&report)?)
}

/// Subjects that are compared in some quantities; the first is the peer of the others.
trait Comparison<const N: usize>: Subjects<Sample = [f64; N]> {
    const BENCHMARK: &'static str;
    const WARM_UP: u32 = 1;
    const QUANTITIES: [Quantity; N];

    fn subjects(&self) -> Vec<Subject<N>>;
}

/// Measures a comparison in rounds.
async fn compare<const N: usize, C: Comparison<N>>(
    comparison: &C,
    args: &BenchArgs,
) -> Result<Vec<Figure>> {
    let rounds = Rounds {
        warm_up: C::WARM_UP,
        counted: args.rounds.get(),
    };
    let subjects = comparison.subjects();
    let selected = (0..subjects.len()).filter(|&index| subjects[index].name.contains(&args.only));
    let selected: Vec<usize> = selected.collect();
    let progress = Progress::new(C::BENCHMARK, rounds.measurements(selected.len()));
    let prng = &mut Prng::new(args.seed);
    let measured = rounds.run(comparison, &selected, prng, &progress).await?;
    Ok(figure::compare(
        C::BENCHMARK,
        &C::QUANTITIES,
        &subjects,
        &measured,
    ))
}

/// To standard error; a closed one is no reason to stop.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {text}");
}
