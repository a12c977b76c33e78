//! Options that are common to the commands that open connections.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args};

use crate::args::duration;

/// Paths, verification, TLS, times and messages.
///
/// A command with another default changes it with `#[command(mut_arg("policy", …))]`.
#[derive(Debug, Args)]
pub(crate) struct Shared {
    /// Path of the TLS connection
    #[arg(
        long,
        value_name = "SPEC",
        default_value = "direct",
        help_heading = "Path options"
    )]
    pub(crate) primary: String,

    /// Path of a side connection (repeatable; all must verify) [default: direct]
    #[arg(long = "side", value_name = "SPEC", help_heading = "Path options")]
    pub(crate) sides: Vec<String>,

    /// Address of the side verifier, if it is not the server's own host and port
    ///
    /// For the first host only: not for further targets, and not after a redirect to another host.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Path options")]
    pub(crate) side_endpoint: Option<String>,

    /// Use this address for this host and port, on every path (repeatable)
    ///
    /// A path whose source is of the other family skips it.
    #[arg(long, value_name = "HOST:PORT:ADDR", help_heading = "Path options")]
    pub(crate) resolve: Vec<String>,

    /// Resolve names with this nameserver instead of the system's (repeatable: the next is used if
    /// one does not answer)
    ///
    /// ADDR is IP, IP:PORT, tls://HOST (DNS over TLS) or https://HOST/PATH (DNS over HTTPS).
    /// `PATH=ADDR` sets it for one path, as in `if:wwan0=9.9.9.9`; ADDR alone for every path
    /// without its own. Queries to a nameserver on a loopback address do not use the path. The
    /// hosts file takes precedence, and a proxy resolves names itself.
    #[arg(long, value_name = "[PATH=]ADDR", help_heading = "Path options")]
    pub(crate) dns: Vec<String>,

    /// Action for a connection that is not verified: refuse it, fall back to plain TLS if the
    /// server does not seem to speak the protocol, or continue and report
    #[arg(
        long,
        default_value = "require",
        value_parser = PossibleValuesParser::new(["require", "prefer", "observe"]),
        help_heading = "Verification options"
    )]
    pub(crate) policy: String,

    /// Refuse paths that are not independent (111)
    #[arg(long, help_heading = "Verification options")]
    pub(crate) require_independent: bool,

    /// Maximum time for the verification, from the ClientHello
    #[arg(
        long, value_name = "TIME", default_value = "3s", value_parser = duration::parse,
        help_heading = "Verification options"
    )]
    pub(crate) deadline: Duration,

    /// Offer this binding only [default: both; the server chooses the exporter if it can]
    #[arg(
        long,
        value_parser = PossibleValuesParser::new(["exporter", "hello"]),
        help_heading = "Verification options"
    )]
    pub(crate) binding: Option<String>,

    /// Save the evidence of an interception in DIR, as JSON and PEM
    #[arg(long, value_name = "DIR", help_heading = "Verification options")]
    pub(crate) evidence_dir: Option<PathBuf>,

    /// Trust the CAs in this PEM file instead of Mozilla's list
    #[arg(long, value_name = "FILE", help_heading = "TLS options")]
    pub(crate) cacert: Option<PathBuf>,

    /// Trust the system's CAs instead of Mozilla's list
    #[arg(long, conflicts_with = "cacert", help_heading = "TLS options")]
    pub(crate) system_roots: bool,

    /// Client certificate: a PEM file with its chain, and with its key unless --key is given
    ///
    /// TLS 1.3 sends the certificate before the verdict: a man in the middle cannot use it, but
    /// they learn its subject.
    #[arg(long, value_name = "FILE", help_heading = "TLS options")]
    pub(crate) cert: Option<PathBuf>,

    /// Private key of --cert, in an unencrypted PEM file
    #[arg(
        long,
        value_name = "FILE",
        requires = "cert",
        help_heading = "TLS options"
    )]
    pub(crate) key: Option<PathBuf>,

    /// Accept any key of a server that has no certificate (SMKEX), and rely on the side paths to
    /// detect a man in the middle; the policy is `require`
    ///
    /// The server needs --smkex too. No name is checked, and attackers on all paths who work
    /// together are not detected.
    #[arg(
        long, conflicts_with_all = ["cacert", "system_roots", "cert", "key"],
        help_heading = "TLS options"
    )]
    pub(crate) smkex: bool,

    /// Maximum time for a path to connect, and then for the TLS handshake [default: 5s, and 10s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Timeouts")]
    pub(crate) connect_timeout: Option<Duration>,

    /// Maximum time for each target as a whole [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Timeouts")]
    pub(crate) max_time: Option<Duration>,

    /// Write each verdict as one line of JSON to standard output (`get` needs --output with it)
    #[arg(long, help_heading = "Message options")]
    pub(crate) json: bool,

    /// Suppress warnings on standard error, but not errors
    #[arg(short, long, help_heading = "Message options")]
    pub(crate) silent: bool,

    /// With `get`, write each verdict to standard error; -vv also logs events (or set RUST_LOG)
    #[arg(short, long, action = ArgAction::Count, help_heading = "Message options")]
    pub(crate) verbose: u8,
}
