//! What HTTP costs on this project's server: requests per second and their latency, against plain
//! axum on tokio-rustls, in one run.
//!
//! Each end has a thread and a current-thread runtime of its own. The client is the same for both
//! servers: plain TLS 1.3 and HTTP/1.1, so no connection is verified. Servers take turns in short
//! batches; a ratio is the median of the ratios of the batches of one round.

mod client;
mod report;
mod server;

use std::io::{self, StdoutLock};
use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::Args;
use mtls_certs::Pki;
use serde::Serialize;

use self::client::{Client, Sample};
use self::report::{Report, Row};
use self::server::Servers;
use super::{Error, Findings};

/// Measure requests per second and latency of mtls-server's HTTP, against plain axum
///
/// Use a release build: `cargo run --release -p mtls-lab -- bench http`.
#[derive(Args, Clone, Debug)]
pub struct HttpArgs {
    /// Number of requests in each batch over connections that are kept alive
    #[arg(long, default_value = "4000")]
    pub requests: NonZeroU32,
    /// Number of requests in each batch over a new connection each, with a full handshake
    #[arg(long, default_value = "300")]
    pub connections: NonZeroU32,
    /// Number of clients at a time
    #[arg(long, default_value = "8")]
    pub concurrency: NonZeroU32,
    /// Number of rounds; each measures everything on both servers
    #[arg(long, default_value = "20")]
    pub rounds: NonZeroU32,
    /// Size of the served file in bytes
    #[arg(long, default_value = "4096", value_name = "BYTES")]
    pub file_size: NonZeroU32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// axum and hyper on tokio-rustls.
    Plain,
    /// `mtls_server::Server`, under the policy `prefer`.
    Multipath,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    /// `hello`, by the same axum router at both servers.
    Small,
    /// A file: by `ServeDir`, and by what `serve` makes of it.
    File,
}

impl Content {
    fn path(self) -> &'static str {
        match self {
            Self::Small => "/small",
            Self::File => "/file.bin",
        }
    }
}

/// How it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    KeepAlive,
    NewConnection,
}

/// Everything that is measured.
const CASES: [(Content, Mode); 4] = [
    (Content::Small, Mode::KeepAlive),
    (Content::File, Mode::KeepAlive),
    (Content::Small, Mode::NewConnection),
    (Content::File, Mode::NewConnection),
];

/// Runs the benchmark and prints its report.
#[must_use]
pub(super) fn run(args: &HttpArgs) -> ExitCode {
    super::show(args.json, measured(args))
}

impl Findings for Report {
    fn tell(&self, out: &mut StdoutLock<'_>, bold: bool) -> io::Result<()> {
        self.table(out, bold)
    }
}

fn measured(args: &HttpArgs) -> Result<Report, Error> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let servers = Servers::start(&pki, args.file_size.get() as usize)?;
    let client = Client::new(&pki, servers.addresses())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure(args, &client))
}

async fn measure(args: &HttpArgs, client: &Client) -> Result<Report, Error> {
    let mut samples: Vec<[Vec<Sample>; 2]> = CASES.map(|_| Default::default()).into();
    // The first round warms up.
    for round in 0..=args.rounds.get() {
        for (case, samples) in CASES.iter().zip(&mut samples) {
            // Nobody is always the first.
            let order = match round % 2 {
                0 => [Kind::Plain, Kind::Multipath],
                _ => [Kind::Multipath, Kind::Plain],
            };
            for kind in order {
                let sample = client.batch(kind, *case, args).await?;
                if round > 0 {
                    samples[kind as usize].push(sample);
                }
            }
        }
    }
    let rows = CASES.iter().zip(&samples);
    Ok(Report {
        schema: 1,
        rounds: args.rounds.get(),
        concurrency: args.concurrency.get(),
        file_size: args.file_size.get(),
        rows: rows
            .map(|(case, samples)| Row::new(*case, samples))
            .collect(),
    })
}
