//! What was typed. [`Options`](crate::options::Options) is what it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::duration;

const EXAMPLES: &str = "\
Examples:
  mtls-client get https://example.org/
      fetch a page, verified over a second connection
  mtls-client get --side if:wwan0 https://example.org/
      the page over the usual route, the verification over the mobile network
  mtls-client check --side socks5h://127.0.0.1:9050 example.org example.net:8443
      the verdict for two servers, the side path through Tor

A second connection, over another network path, shows that both ends took part in the same TLS
handshake. A man in the middle of the first path is noticed even when his certificate comes from
a trusted CA.";

const GET_EXAMPLES: &str = "\
Examples:
  mtls-client get https://example.org/
      the page to standard output; nothing is asked for before the verdict
  mtls-client get -L -o page.html -v https://example.org/
      into a file, redirects followed, with a report on each connection
  mtls-client get --primary src:192.0.2.7 --side src:198.51.100.7 https://example.org/
      both paths chosen by their source address
  mtls-client get --policy prefer https://example.org/
      a server that does not know the protocol is good enough";

const CHECK_EXAMPLES: &str = "\
Examples:
  mtls-client check example.org
      the verdict, with the paths, the TLS connection and the times
  mtls-client check --side if:wwan0 --require-independent example.org example.net:8443
      two servers, over paths that are really two
  mtls-client check --side socks5h://127.0.0.1:9050 --evidence-dir evidence example.org
      the side path through Tor; what an attacker presents is kept
  mtls-client check --json --policy observe example.org
      one line of JSON, whatever the verdict";

const NOTES: &str = "\
MTLS is multipath TLS here, not mutual TLS.

Paths (SPEC): direct, if:NAME (interface), src:IP (source address), socks5h://HOST:PORT and
http://HOST:PORT (proxies, which resolve the names). Proxy environment variables are ignored.

Policies: `require` refuses what is not verified. `prefer` goes on where the side endpoint cannot
be reached or does not speak the protocol, which whoever blocks the side path can bring about.
`observe` always goes on. An interception is refused by the first two.

Exit status:
    0  verified; or unverified, and the policy allows that
    2  wrong command line
    6  could not resolve the host
    7  could not connect
   22  HTTP status 400 or above, with --fail
   23  could not write the output
   28  timed out
   35  TLS failed
   60  the certificate is not trusted
  110  INTERCEPTION DETECTED, under every policy
  111  not verified: the side endpoint could not be reached, fell silent, closed or refused, or
       the paths are not independent (--require-independent)
  112  not verified: the side endpoint does not speak the protocol
  and as curl's: 1 a redirect that is not https, 47 too many redirects, 56 the response broke off.
  What fails on the primary path wins over 111 and 112. With several targets the worst counts:
  110, 60, 35, 7, 6, 28, 111, 112, 23, 0, in this order.";

/// Fetch pages and check servers by multipath TLS (not mutual TLS)
#[derive(Debug, Parser)]
#[command(name = "mtls-client", version, after_help = notes(EXAMPLES), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch an https URL; nothing is asked for before the verdict
    #[command(after_help = notes(GET_EXAMPLES))]
    Get(Get),
    /// Verify servers, and ask them for nothing
    #[command(after_help = notes(CHECK_EXAMPLES))]
    Check(Check),
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to fetch
    pub(crate) url: String,

    /// Write the body to a file, created only after the verdict (`-`: standard output)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write the response's status line and header fields before the body
    #[arg(short, long)]
    pub(crate) include: bool,

    /// Add a header field, `NAME: VALUE`; `NAME:` takes a default one away (repeatable)
    ///
    /// `Authorization`, `Cookie` and `Host` are not sent to another host after a redirect.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub(crate) headers: Vec<String>,

    /// Follow redirects, 10 at most; each is verified as the first request is
    #[arg(short = 'L', long)]
    pub(crate) location: bool,

    /// Write nothing and exit with 22 when the HTTP status is 400 or above
    #[arg(short, long)]
    pub(crate) fail: bool,

    #[command(flatten)]
    pub(crate) shared: Shared,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// HOST, HOST:PORT (default 443) or an https URL
    #[arg(required = true, value_name = "TARGET")]
    pub(crate) targets: Vec<String>,

    #[command(flatten)]
    pub(crate) shared: Shared,
}

/// The options that all commands share.
#[derive(Debug, Args)]
pub(crate) struct Shared {
    /// How the TLS connection is dialled
    #[arg(
        long,
        value_name = "SPEC",
        default_value = "direct",
        help_heading = "Paths"
    )]
    pub(crate) primary: String,

    /// How a side connection is dialled (repeatable; all must verify) [default: direct]
    #[arg(long = "side", value_name = "SPEC", help_heading = "Paths")]
    pub(crate) sides: Vec<String>,

    /// Where the side verifier is, if not at the server's own host and port
    ///
    /// For the first host only: not for further targets, nor after a redirect elsewhere.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Paths")]
    pub(crate) side_endpoint: Option<String>,

    /// Use this address for this host and port, on every path (repeatable)
    ///
    /// An address of another family than a path's source is skipped.
    #[arg(long, value_name = "HOST:PORT:ADDR", help_heading = "Paths")]
    pub(crate) resolve: Vec<String>,

    /// What to do when a connection cannot be verified: refuse, fall back where the server does
    /// not seem to know the protocol, or go on and report
    #[arg(
        long,
        default_value = "require",
        value_parser = PossibleValuesParser::new(["require", "prefer", "observe"]),
        help_heading = "Verification"
    )]
    pub(crate) policy: String,

    /// Refuse (111) paths that are not independent
    #[arg(long, help_heading = "Verification")]
    pub(crate) require_independent: bool,

    /// How long a verification may take, from the ClientHello on
    #[arg(
        long, value_name = "TIME", default_value = "3s", value_parser = duration::parse,
        help_heading = "Verification"
    )]
    pub(crate) deadline: Duration,

    /// Offer this binding only [default: both, the server chooses the exporter if it can]
    #[arg(
        long,
        value_parser = PossibleValuesParser::new(["exporter", "hello"]),
        help_heading = "Verification"
    )]
    pub(crate) binding: Option<String>,

    /// Save the evidence of an interception here, as JSON and PEM
    #[arg(long, value_name = "DIR", help_heading = "Verification")]
    pub(crate) evidence_dir: Option<PathBuf>,

    /// Trust the CAs in this PEM file, instead of Mozilla's list
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) cacert: Option<PathBuf>,

    /// Trust the CAs that the system trusts, instead of Mozilla's list
    #[arg(long, conflicts_with = "cacert", help_heading = "TLS")]
    pub(crate) system_roots: bool,

    /// How long a path may take to connect, and then TLS to complete [default: 5s, and 10s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Times")]
    pub(crate) connect_timeout: Option<Duration>,

    /// How long everything may take, for each target [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Times")]
    pub(crate) max_time: Option<Duration>,

    /// Write each verdict as one line of JSON to standard output (`get`: needs --output)
    #[arg(long, help_heading = "Messages")]
    pub(crate) json: bool,

    /// No warnings on standard error; errors stay
    #[arg(short, long, help_heading = "Messages")]
    pub(crate) silent: bool,

    /// `get`: write each verdict to standard error; -vv: also what happens (RUST_LOG does so too)
    #[arg(short, long, action = ArgAction::Count, help_heading = "Messages")]
    pub(crate) verbose: u8,
}

fn notes(examples: &str) -> String {
    format!("{examples}\n\n{NOTES}")
}
