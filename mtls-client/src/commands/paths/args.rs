//! Options of `paths`.

use std::time::Duration;

use mtls_core::path::Endpoint;

use crate::args::{OutputArgs, PathArgs, TimeArgs, duration, target};

pub(crate) const EXAMPLES: &str = "\
Examples:
  mtls-client paths
      list the interfaces and paths of this machine, and which pairs are independent
  mtls-client paths example.org
      test each of these paths against a server
  mtls-client paths --primary if:wlan0 --side if:wwan0 --side socks5h://127.0.0.1:1080 example.org
      test these paths only; with --all the others too
  mtls-client paths --require-independent --json example.org
      print one JSON object; exit with 111 if no second path is independent

The exit status is 6, 7 or 28 if the primary path does not reach the target, 111 if a path of
--side does not, and 112 if no side verifier greets over it. Paths without --side do not affect
the exit status. A greeting proves nothing: `check` verifies.";

/// The command `paths`.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("primary", |arg| arg
        .requires("target")
        .help("Path to compare the others with")),
    mut_arg("sides", |arg| arg
        .requires("target")
        .help("Side path to test (repeatable) [default: all paths of this machine]")),
    mut_arg("side_endpoint", |arg| arg
        .requires("target")
        .long_help("Address of the side verifier, if it is not the server's own host and port")),
    mut_arg("resolve", |arg| arg.requires("target")),
    mut_arg("dns", |arg| arg.requires("target")),
    mut_arg("connect_timeout", |arg| arg
        .help("Maximum time for a path to connect [default: 5s]")),
    mut_arg("max_time", |arg| arg
        .help("Maximum time for all tests together [default: no limit]")),
    mut_arg("json", |arg| arg
        .help("Write the report as one line of JSON to standard output")),
    mut_arg("verbose", |arg| arg
        .help("-vv logs events to standard error (or set RUST_LOG)")),
)]
pub(crate) struct Args {
    /// Server to test the paths against: HOST, HOST:PORT (default 443) or https URL
    #[arg(value_name = "TARGET", value_parser = target::parse)]
    pub(crate) target: Option<Endpoint>,

    #[command(flatten)]
    pub(crate) paths: PathArgs,

    /// Test all paths of this machine, in addition to those of --side
    #[arg(long, requires = "sides", help_heading = "Path options")]
    pub(crate) all: bool,

    /// Exit with 111 if a path of --side is not independent of the primary path; without --side,
    /// if no path is independent of it
    #[arg(long, requires = "target", help_heading = "Path options")]
    pub(crate) require_independent: bool,

    #[command(flatten)]
    pub(crate) times: TimeArgs,

    /// Maximum time for the greeting of a side verifier
    #[arg(
        long, value_name = "TIME", default_value = "3s", value_parser = duration::parse,
        help_heading = "Timeouts"
    )]
    pub(crate) deadline: Duration,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
