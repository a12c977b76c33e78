//! What verification costs on the loopback: plain tokio-rustls against multipath, in one run.
//!
//! Each end has a thread and a current-thread runtime of its own, as two machines of one core
//! would. The kinds take turns in small batches, and a ratio is the median of the ratios of the
//! batches of one round, so that whatever else the machine does falls on all of them alike. Every
//! connection is a full handshake that is followed by one request and one answer; latency is that
//! of the connect alone. CPU is that of the whole process: of both ends, the kernel's part
//! included.

mod clients;
mod http;
mod measure;
mod progress;
mod relay;
mod report;
mod samples;
mod server;

use std::io::{self, IsTerminal, StdoutLock, Write};
use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mtls_certs::Pki;
use mtls_core::path::Path;
use serde::Serialize;

use self::clients::Clients;
pub use self::http::HttpArgs;
use self::measure::Plan;
pub use self::relay::RelayArgs;
use self::report::Report;
use self::server::Server;

/// What goes wrong in a benchmark.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Measure connection set-up and throughput on loopback, plain TLS against multipath TLS.
///
/// Use a release build: `cargo run --release -p mtls-lab -- bench`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    /// Another benchmark.
    #[command(subcommand)]
    pub other: Option<OtherBench>,
    /// Number of connections of each kind, one at a time and then several at a time
    #[arg(long, default_value = "2000")]
    pub connections: NonZeroU32,
    /// Number of connections that are set up at a time in the second part
    #[arg(long, default_value = "16")]
    pub concurrency: NonZeroU32,
    /// Number of rounds; each measures every kind
    #[arg(long, default_value = "20")]
    pub rounds: NonZeroU32,
    /// MiB to send over one connection, for each kind and round
    #[arg(long, default_value = "128")]
    pub megabytes: NonZeroU32,
    /// Path of the side connection
    ///
    /// A source address costs extra if many closed connections of that address are in TIME_WAIT:
    /// the kernel then searches for a free port.
    #[arg(long, default_value = "direct", value_name = "SPEC")]
    pub side: Path,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Other benchmarks.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum OtherBench {
    /// Measure the relays against HAProxy in TCP mode, socat and no relay.
    Relay(RelayArgs),
    /// Measure requests per second and latency of mtls-server's HTTP, against plain axum.
    Http(HttpArgs),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// tokio-rustls at both ends.
    Plain,
    /// Multipath with a side connection for each connection.
    Fresh,
    /// Multipath with one side connection that is kept.
    Pooled,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Plain, Self::Fresh, Self::Pooled];
}

/// Runs the benchmark and prints its report.
#[must_use]
pub fn run(args: &BenchArgs) -> ExitCode {
    match &args.other {
        Some(OtherBench::Relay(args)) => return relay::run(args),
        Some(OtherBench::Http(args)) => return http::run(args),
        None => {}
    }
    show(args.json, measured(args))
}

/// What a benchmark found.
trait Findings: Serialize {
    /// Writes them as a table, for people.
    fn tell(&self, out: &mut StdoutLock<'_>, bold: bool) -> io::Result<()>;
}

impl Findings for Report {
    fn tell(&self, out: &mut StdoutLock<'_>, bold: bool) -> io::Result<()> {
        self.table(out, bold)
    }
}

fn show(json: bool, measured: Result<impl Findings, Error>) -> ExitCode {
    if cfg!(debug_assertions) {
        let _ = writeln!(io::stderr(), "note: this is no release build");
    }
    match measured.and_then(|findings| Ok(print(json, &findings)?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(json: bool, findings: &impl Findings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match json {
        true => writeln!(out, "{}", serde_json::to_string(findings)?),
        false => findings.tell(&mut out, io::stdout().is_terminal()),
    }
}

fn measured(args: &BenchArgs) -> Result<Report, Error> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let server = Server::start(&pki)?;
    let clients = Clients::new(&pki, server.addresses(), &args.side)?;
    let plan = Plan::new(args);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // In a task, as in a program with many connections: what runs as the runtime's root is woken by
    // a system call, even from its own thread.
    runtime.block_on(runtime.spawn(async move { plan.run(&clients).await }))?
}
