//! Options of `watch`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mtls_core::path::Endpoint;

use super::webhook::WebhookUrl;
use crate::args::input_file::InputFile;
use crate::args::{ConnectionArgs, duration, target};
use crate::failure::Failure;

pub(crate) const EXAMPLES: &str = "\
Examples:
  mtls-client watch -i targets.txt --side socks5h://127.0.0.1:9050 --method auto
      verify every server in a file each 10 minutes, and print a line when a verdict changes
  mtls-client watch -i targets.txt --state watch.json --metrics 127.0.0.1:9118
      remember the verdicts across restarts; http://127.0.0.1:9118/ shows them, and /metrics has
      them for Prometheus
  mtls-client watch --every 1m --exec 'mail -s \"$WATCH_TARGET: $WATCH_TO\" admin' example.org
      mail each change to or from verified, intercepted or suspicious; standard input is its JSON
  mtls-client watch -i targets.txt --evidence-dir evidence --webhook https://hooks.example/mtls
      save evidence, and post each such change";

/// The command `watch`.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("max_time", |arg| arg
        .default_value("30s")
        .help("Maximum time for each check as a whole")),
    mut_arg("json", |arg| arg
        .help("Write each change of a verdict as one line of JSON to standard output")),
    mut_arg("verbose", |arg| arg
        .help("Log events to standard error with -vv (or set RUST_LOG)")),
)]
pub(crate) struct Args {
    /// HOST, HOST:PORT (default 443) or https URL to watch
    #[arg(
        required_unless_present = "input", value_name = "TARGET", value_parser = target::parse
    )]
    pub(crate) targets: Vec<Endpoint>,

    /// Read targets from FILE (`-` for standard input), one per line; `#` starts a comment
    #[arg(short, long, value_name = "FILE", value_parser = InputFile::parser())]
    pub(crate) input: Vec<InputFile>,

    /// Time between two checks of a target, varied by up to 10 % at random
    #[arg(
        long, value_name = "TIME", default_value = "10m", value_parser = duration::parse,
        help_heading = "Watch options"
    )]
    pub(crate) every: Duration,

    /// Number of targets to check in parallel, at most 256; targets that could not be reached
    /// occupy at most half of them
    #[arg(
        short, long, value_name = "NUMBER", default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Watch options"
    )]
    pub(crate) jobs: u16,

    /// Keep verdicts, history and undelivered notifications in FILE, across restarts
    #[arg(long, value_name = "FILE", help_heading = "Watch options")]
    pub(crate) state: Option<PathBuf>,

    /// Serve the status page (/), JSON (/targets) and Prometheus metrics (/metrics) over HTTP
    #[arg(long, value_name = "IP:PORT", help_heading = "Watch options")]
    pub(crate) metrics: Option<SocketAddr>,

    /// Allow a --metrics address beyond loopback: it has no authentication
    #[arg(long, requires = "metrics", help_heading = "Watch options")]
    pub(crate) unsafe_metrics: bool,

    /// Run CMD with sh on each change to or from verified, intercepted or suspicious
    ///
    /// It gets the change as JSON on standard input, and in WATCH_TARGET, WATCH_FROM, WATCH_TO,
    /// WATCH_REASON and WATCH_EVENT. Until it exits with 0, it is run again, in the order of the
    /// changes.
    #[arg(long, value_name = "CMD", help_heading = "Watch options")]
    pub(crate) exec: Option<String>,

    /// Send an HTTP POST with the JSON of each such change to URL
    ///
    /// Until the status is 2xx, it is sent again, in the order of the changes. The webhook is not
    /// verified over a second path; https needs a certificate of a trusted CA.
    #[arg(long, value_name = "URL", help_heading = "Watch options")]
    pub(crate) webhook: Option<WebhookUrl>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

impl Args {
    /// Refuses settings that contradict each other.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let minimum = Duration::from_secs(1);
        if self.every < minimum {
            return Err(Failure::usage("--every", "must be at least 1s"));
        }
        let tls = &self.connection.tls;
        let resuming = [
            ("--inherit", tls.inherit.is_some()),
            ("--prefetch", tls.prefetch),
        ];
        if let Some((option, _)) = resuming.into_iter().find(|(_, is_given)| *is_given) {
            let reason = "each check makes a full handshake; omit it";
            return Err(Failure::usage(option, reason));
        }
        let public = self.metrics.filter(|address| !address.ip().is_loopback());
        match public.filter(|_| !self.unsafe_metrics) {
            None => Ok(()),
            Some(address) => Err(Failure::usage(
                "--metrics",
                format_args!(
                    "other hosts can reach {address}, and the page has no authentication; add \
                     --unsafe-metrics to allow them"
                ),
            )),
        }
    }
}
