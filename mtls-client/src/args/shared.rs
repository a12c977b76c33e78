//! The options that the commands share which make connections.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args};

use crate::duration;

/// Paths, verification, TLS, times and messages.
///
/// A command with another default changes it with `#[command(mut_arg("policy", …))]`.
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

    /// Resolve names by this nameserver instead of the system's (repeatable: the next ones are for
    /// when it does not answer)
    ///
    /// ADDR is IP, IP:PORT, tls://HOST (DNS over TLS) or https://HOST/PATH (DNS over HTTPS).
    /// `PATH=ADDR` sets it for the path PATH alone, such as `if:wwan0=9.9.9.9`; ADDR for every path
    /// without one of its own. A nameserver on the loopback is asked there whatever the path. The
    /// hosts file is consulted first, and a proxy resolves by itself.
    #[arg(long, value_name = "[PATH=]ADDR", help_heading = "Paths")]
    pub(crate) dns: Vec<String>,

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

    /// Show the server this certificate: a PEM file with its chain, and its key unless --key names
    /// another file
    ///
    /// TLS 1.3 sends it before the verdict, so whoever answers on the primary path sees it, a man
    /// in the middle too. He cannot use it, but he learns who you are.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) cert: Option<PathBuf>,

    /// The key of --cert, a PEM file that is not encrypted
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS")]
    pub(crate) key: Option<PathBuf>,

    /// Do without certificates (SMKEX): take any key of the server's, and let the side paths alone
    /// say that nobody is in between; the policy is `require`
    ///
    /// The server needs --smkex too. No name is checked, and nothing is left against attackers on
    /// all paths who work together.
    #[arg(
        long, conflicts_with_all = ["cacert", "system_roots", "cert", "key"], help_heading = "TLS"
    )]
    pub(crate) smkex: bool,

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
