//! What was typed after `paths`.

use std::time::Duration;

use clap::{ArgAction, Args};

use crate::args::Shared;
use crate::duration;

pub(super) const EXAMPLES: &str = "\
Examples:
  mtls-client paths
      the interfaces of this machine, the ways out, and which of them are really two
  mtls-client paths example.org
      each of these ways tried against a server
  mtls-client paths --primary if:wlan0 --side if:wwan0 --side socks5h://127.0.0.1:1080 example.org
      these paths alone; with --all the others too
  mtls-client paths --require-independent --json example.org
      one object; exit status 111 where no second path is independent

The exit status is 6, 7 or 28 where the primary path does not lead there, 111 where a path of
--side does not, and 112 where no side verifier greets over it. Paths that are only found change
nothing. To greet is no proof: `check` verifies.";

#[derive(Debug, Args)]
pub(crate) struct Paths {
    /// The server to try the paths against: HOST, HOST:PORT (default 443) or an https URL
    #[arg(value_name = "TARGET")]
    pub(crate) target: Option<String>,

    /// The path that the others are compared with
    #[arg(
        long,
        value_name = "SPEC",
        default_value = "direct",
        requires = "target",
        help_heading = "Paths"
    )]
    pub(crate) primary: String,

    /// A side path to try (repeatable) [default: all that this machine has]
    #[arg(
        long = "side",
        value_name = "SPEC",
        requires = "target",
        help_heading = "Paths"
    )]
    pub(crate) sides: Vec<String>,

    /// Try all that this machine has, beside those of --side
    #[arg(long, requires = "sides", help_heading = "Paths")]
    pub(crate) all: bool,

    /// Where the side verifier is, if not at the server's own host and port
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "target",
        help_heading = "Paths"
    )]
    pub(crate) side_endpoint: Option<String>,

    /// Use this address for this host and port, on every path (repeatable)
    ///
    /// An address of another family than a path's source is skipped.
    #[arg(
        long,
        value_name = "HOST:PORT:ADDR",
        requires = "target",
        help_heading = "Paths"
    )]
    pub(crate) resolve: Vec<String>,

    /// Resolve names by this nameserver instead of the system's (repeatable: the next ones are for
    /// when it does not answer)
    ///
    /// As with `check`.
    #[arg(
        long,
        value_name = "[PATH=]ADDR",
        requires = "target",
        help_heading = "Paths"
    )]
    pub(crate) dns: Vec<String>,

    /// Exit with 111 if a path of --side, or without these every path, is not independent of the
    /// primary one
    #[arg(long, requires = "target", help_heading = "Paths")]
    pub(crate) require_independent: bool,

    /// How long a side verifier may take to greet
    #[arg(
        long, value_name = "TIME", default_value = "3s", value_parser = duration::parse,
        help_heading = "Times"
    )]
    pub(crate) deadline: Duration,

    /// How long a path may take to connect [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Times")]
    pub(crate) connect_timeout: Option<Duration>,

    /// How long everything may take [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Times")]
    pub(crate) max_time: Option<Duration>,

    /// Write what was found as one line of JSON to standard output
    #[arg(long, help_heading = "Messages")]
    pub(crate) json: bool,

    /// No warnings on standard error; errors stay
    #[arg(short, long, help_heading = "Messages")]
    pub(crate) silent: bool,

    /// -vv: write to standard error what happens (RUST_LOG does so too)
    #[arg(short, long, action = ArgAction::Count, help_heading = "Messages")]
    pub(crate) verbose: u8,
}

impl Paths {
    /// The same options as the other commands have them.
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
