//! What a relay costs: the proxy and the passthrough against HAProxy in TCP mode, socat, and no
//! relay at all.
//!
//! Client, server and each relay have a thread of their own. All set a TLS 1.3 connection up, so
//! that there is something to verify, and then send bytes in the clear over the same connection:
//! a relay cannot tell, and what is measured is the relay and not the ciphers of the two ends. The
//! kinds take turns in every round, and a ratio is the median of the ratios of the rounds.

mod client;
mod measure;
mod middle;
mod report;
mod samples;
mod server;
mod worker;

use std::io::{self, StdoutLock};
use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::Args;
use mtls_certs::Pki;
use serde::Serialize;

use self::client::Clients;
use self::measure::Plan;
use self::middle::Middles;
use self::report::Report;
use self::server::Server;
use super::{Error, Findings};

/// Measure the relays on loopback, against HAProxy in TCP mode, socat and no relay.
///
/// Use a release build: `cargo run --release -p mtls-lab -- bench relay`. Programs that are not
/// installed are skipped.
#[derive(Args, Clone, Debug)]
pub struct RelayArgs {
    /// Number of rounds; each measures every kind
    #[arg(long, default_value = "20")]
    pub rounds: NonZeroU32,
    /// Number of connections that are set up one at a time in each round, for the latency
    #[arg(long, default_value = "40")]
    pub connections: NonZeroU32,
    /// MiB to send from the server to the client in each round
    #[arg(long, default_value = "256")]
    pub megabytes: NonZeroU32,
    /// Number of request-response pairs of 1 KiB in each round, one at a time
    #[arg(long, default_value = "1000")]
    pub messages: NonZeroU32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// What stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// Nothing.
    None,
    /// HAProxy with `mode tcp`, as it comes.
    Haproxy,
    /// The same with `option splice-auto`.
    HaproxySplice,
    /// socat with a buffer of 64 KiB; it forks for each connection.
    Socat,
    /// The passthrough for a client that knows nothing of it, without pipes.
    PassthroughCopying,
    /// The passthrough for a client that knows nothing of it.
    Passthrough,
    /// The passthrough for a client of the library that insists, side connection kept.
    PassthroughVerified,
    /// The relay of `mtls-client proxy`, which insists, side connection kept.
    ProxyVerified,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::None => "no relay",
            Self::Haproxy => "HAProxy",
            Self::HaproxySplice => "HAProxy, splice-auto",
            Self::Socat => "socat",
            Self::PassthroughCopying => "passthrough, copying",
            Self::Passthrough => "passthrough",
            Self::PassthroughVerified => "passthrough, verified",
            Self::ProxyVerified => "proxy, verified",
        }
    }
}

/// Runs the benchmark and prints its report.
#[must_use]
pub(super) fn run(args: &RelayArgs) -> ExitCode {
    super::show(args.json, measured(args))
}

impl Findings for Report {
    fn tell(&self, out: &mut StdoutLock<'_>, bold: bool) -> io::Result<()> {
        self.table(out, bold)
    }
}

fn measured(args: &RelayArgs) -> Result<Report, Error> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let server = Server::start(&pki)?;
    let middles = Middles::start(server.addresses())?;
    let clients = Clients::new(&pki, &middles)?;
    let plan = Plan::new(args, &middles);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(plan.run(&clients))
}
