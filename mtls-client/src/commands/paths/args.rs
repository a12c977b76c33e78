//! Arguments of `paths`.

use std::time::Duration;

use clap::{ArgAction, Args};

use crate::args::Shared;
use crate::args::duration;

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

#[derive(Debug, Args)]
pub(crate) struct Paths {
    /// Server to test the paths against: HOST, HOST:PORT (default 443) or https URL
    #[arg(value_name = "TARGET")]
    pub(crate) target: Option<String>,

    /// Path to compare the others with
    #[arg(
        long,
        value_name = "SPEC",
        default_value = "direct",
        requires = "target",
        help_heading = "Path options"
    )]
    pub(crate) primary: String,

    /// Side path to test (repeatable) [default: all paths of this machine]
    #[arg(
        long = "side",
        value_name = "SPEC",
        requires = "target",
        help_heading = "Path options"
    )]
    pub(crate) sides: Vec<String>,

    /// Test all paths of this machine, in addition to those of --side
    #[arg(long, requires = "sides", help_heading = "Path options")]
    pub(crate) all: bool,

    /// Address of the side verifier, if it is not the server's own host and port
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "target",
        help_heading = "Path options"
    )]
    pub(crate) side_endpoint: Option<String>,

    /// Use this address for this host and port, on every path (repeatable)
    ///
    /// A path whose source is of the other family skips it.
    #[arg(
        long,
        value_name = "HOST:PORT:ADDR",
        requires = "target",
        help_heading = "Path options"
    )]
    pub(crate) resolve: Vec<String>,

    /// Resolve names with this nameserver instead of the system's (repeatable: the next is used if
    /// one does not answer)
    ///
    /// ADDR and PATH as with `check`.
    #[arg(
        long,
        value_name = "[PATH=]ADDR",
        requires = "target",
        help_heading = "Path options"
    )]
    pub(crate) dns: Vec<String>,

    /// Exit with 111 if a path of --side is not independent of the primary path; without --side,
    /// if no path is independent of it
    #[arg(long, requires = "target", help_heading = "Path options")]
    pub(crate) require_independent: bool,

    /// Maximum time for the greeting of a side verifier
    #[arg(
        long, value_name = "TIME", default_value = "3s", value_parser = duration::parse,
        help_heading = "Timeouts"
    )]
    pub(crate) deadline: Duration,

    /// Maximum time for a path to connect [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Timeouts")]
    pub(crate) connect_timeout: Option<Duration>,

    /// Maximum time for all tests together [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Timeouts")]
    pub(crate) max_time: Option<Duration>,

    /// Write the report as one line of JSON to standard output
    #[arg(long, help_heading = "Message options")]
    pub(crate) json: bool,

    /// Suppress warnings on standard error, but not errors
    #[arg(short, long, help_heading = "Message options")]
    pub(crate) silent: bool,

    /// -vv logs events to standard error (or set RUST_LOG)
    #[arg(short, long, action = ArgAction::Count, help_heading = "Message options")]
    pub(crate) verbose: u8,
}

impl Paths {
    /// The options in the form that the other commands share.
    pub(crate) fn shared(&self) -> Shared {
        Shared {
            primary: self.primary.clone(),
            sides: self.sides.clone(),
            side_endpoint: self.side_endpoint.clone(),
            resolve: self.resolve.clone(),
            dns: self.dns.clone(),
            policy: "require".into(),
            require_independent: self.require_independent,
            deadline: self.deadline,
            binding: None,
            evidence_dir: None,
            cacert: None,
            system_roots: false,
            cert: None,
            key: None,
            smkex: false,
            connect_timeout: self.connect_timeout,
            max_time: self.max_time,
            json: self.json,
            silent: self.silent,
            verbose: self.verbose,
        }
    }
}
