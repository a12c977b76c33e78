//! Option groups, which a command flattens into its own options.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};
use mtls_core::path::{Endpoint, Path, PathKind, PathSpecError, SubflowSource};
use mtls_core::proto::binding::{Binding, Bindings};
use mtls_core::{Method, Policy, SubflowUse};

use super::dns::DnsServer;
use super::duration;
use super::known_hosts::{KeyArgs, KnownHostsArgs};
use super::resolve::ResolveOverride;

/// The options of a command that makes verified connections itself.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    #[command(flatten)]
    pub(crate) verify: VerifyArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) known_hosts: KnownHostsArgs,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) times: TimeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Network paths and the resolution of names.
///
/// A command with another default or help text changes it with `#[command(mut_arg(…))]`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Path options")]
pub(crate) struct PathArgs {
    /// Path of the TLS connection
    #[arg(long, value_name = "SPEC", default_value = "direct")]
    pub(crate) primary: Path,

    /// Path of a side connection (repeatable; all must verify) [default: direct]
    #[arg(long = "side", value_name = "SPEC")]
    pub(crate) sides: Vec<Path>,

    /// Use Multipath TCP for the TLS connection, if the server supports it
    ///
    /// The connection can then use several interfaces, and continues when one fails. The kernel's
    /// path manager adds them: `ip mptcp limits set subflows 2` and `ip mptcp endpoint add ADDRESS
    /// dev NAME subflow`. A path `if:NAME` keeps all of them on its interface. -v lists them.
    #[arg(long)]
    pub(crate) mptcp: bool,

    /// With --mptcp: add a subflow over this interface, or from this address, after the verdict
    ///
    /// Needs CAP_NET_ADMIN and `sysctl -w net.mptcp.path_manager=userspace`. Without it the kernel's
    /// own path manager adds subflows.
    #[arg(long, value_name = "NAME|src:IP", requires = "mptcp", value_parser = subflow_source)]
    pub(crate) mptcp_join: Option<SubflowSource>,

    /// Use of the further subflow (--mptcp-join, --side mptcp:…) for data: `both`, `prefer` it, or as
    /// a `backup`
    #[arg(long, value_name = "USE", default_value = "both", value_parser = subflow_uses())]
    pub(crate) mptcp_use: SubflowUse,

    /// Address of the side verifier, if it is not the server's own host and port
    ///
    /// For the first host only: not for further targets, and not after a redirect to another host.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) side_endpoint: Option<Endpoint>,

    /// Use this address for this host and port, on every path (repeatable)
    ///
    /// A path whose source is of the other family skips it.
    #[arg(long, value_name = "HOST:PORT:ADDR")]
    pub(crate) resolve: Vec<ResolveOverride>,

    /// Resolve names with this nameserver instead of the system's (repeatable: the next is used if
    /// one does not answer)
    ///
    /// ADDR is IP, IP:PORT, tls://HOST (DNS over TLS) or https://HOST/PATH (DNS over HTTPS).
    /// `PATH=ADDR` sets it for one path, as in `if:wwan0=9.9.9.9`; ADDR alone for every path
    /// without its own. Queries to a nameserver on a loopback address do not use the path. The
    /// hosts file takes precedence, and a proxy resolves names itself.
    #[arg(long, value_name = "[PATH=]ADDR")]
    pub(crate) dns: Vec<DnsServer>,
}

/// Verification and its policy.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Verification options")]
pub(crate) struct VerifyArgs {
    /// Action for a connection that is not verified: refuse it, fall back to plain TLS if the
    /// server does not seem to speak the protocol, or continue and report
    #[arg(
        long,
        default_value = "require",
        value_parser = policies()
    )]
    pub(crate) policy: Policy,

    /// Refuse paths that are not independent (111)
    #[arg(long)]
    pub(crate) require_independent: bool,

    /// Maximum time for the verification, from the ClientHello
    #[arg(
        long, value_name = "TIME", default_value = "3s", value_parser = duration::parse
    )]
    pub(crate) deadline: Duration,

    /// Save the evidence of an interception or suspicion in DIR, as JSON and PEM
    #[arg(long, value_name = "DIR")]
    pub(crate) evidence_dir: Option<PathBuf>,
}

/// TLS of a client that terminates it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS options")]
pub(crate) struct TlsArgs {
    /// Offer this binding only [default: both; the server chooses the exporter if it can]
    #[arg(
        long,
        value_name = "BINDING",
        value_parser = bindings(),
        help_heading = "Verification options"
    )]
    pub(crate) binding: Option<Binding>,

    /// Verify by the side protocol, by session resumption (any TLS 1.3 server, but weaker), or by
    /// resumption only if the server does not speak the side protocol
    ///
    /// Resumption proves that both paths lead to servers with one session ticket key. Attackers on
    /// both paths who agreed on a ticket key in advance are not detected, and neither is one who
    /// holds the server's. The verdict names the method.
    #[arg(
        long,
        value_name = "METHOD",
        default_value = "side",
        value_parser = methods(),
        help_heading = "Verification options"
    )]
    pub(crate) method: Method,

    /// Resume the session of a verified connection to the same server instead of verifying again,
    /// until this time after its verification (weaker)
    ///
    /// Sessions are kept in memory, so this applies to further connections of one run. An attacker
    /// who holds the server's ticket key is not detected, and a server with the policy `require`
    /// refuses such connections unless it is set to inherit too. The verdict names the origin and
    /// its age.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration::parse,
        help_heading = "Verification options"
    )]
    pub(crate) inherit: Option<Duration>,

    /// Fetch session tickets over the side path first, and resume them on the primary path, so that
    /// each connection is verified by its own handshake; needs `--method resumption`
    ///
    /// For the servers on the command line, up to 8 tickets of each, for 10 minutes. A connection
    /// that resumes none is verified as usual, after its handshake. With a single side path only.
    #[arg(long, conflicts_with_all = ["cert", "smkex"], help_heading = "Verification options")]
    pub(crate) prefetch: bool,

    /// Trust the CAs in this PEM file instead of Mozilla's list
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,

    /// Trust the system's CAs instead of Mozilla's list
    #[arg(long, conflicts_with = "cacert")]
    pub(crate) system_roots: bool,

    /// Client certificate: a PEM file with its chain, and with its key unless --key is given
    ///
    /// TLS 1.3 sends the certificate before the verdict: a man in the middle cannot use it, but
    /// they learn its subject.
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,

    /// Private key of --cert, in an unencrypted PEM file
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// Accept any key of a server that has no certificate (SMKEX), and rely on the side paths to
    /// detect a man in the middle; the policy is `require`
    ///
    /// The server needs --smkex too. No name is checked, and attackers on all paths who work
    /// together are not detected.
    #[arg(
        long, conflicts_with_all = ["cacert", "system_roots", "cert", "key", "inherit"]
    )]
    pub(crate) smkex: bool,
}

/// Time limits.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Timeouts")]
pub(crate) struct TimeArgs {
    /// Maximum time for a path to connect, and then for the TLS handshake [default: 5s, and 10s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) connect_timeout: Option<Duration>,

    /// Maximum time for each target as a whole [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) max_time: Option<Duration>,
}

/// Messages on standard output and standard error.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Message options")]
pub(crate) struct OutputArgs {
    /// Write each verdict as one line of JSON to standard output
    #[arg(long)]
    pub(crate) json: bool,

    /// Suppress warnings on standard error, but not errors
    #[arg(short, long)]
    pub(crate) silent: bool,

    /// Write each verdict to standard error; -vv also logs events (or set RUST_LOG)
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

fn subflow_source(text: &str) -> Result<SubflowSource, String> {
    let kind = format!("mptcp:{text}").parse();
    match kind.map_err(|error: PathSpecError| error.to_string())? {
        PathKind::Mptcp(source) => Ok(source),
        _ => Err("expected NAME or src:IP".to_owned()),
    }
}

fn subflow_uses() -> impl TypedValueParser<Value = SubflowUse> {
    PossibleValuesParser::new(["both", "prefer", "backup"]).map(|word| match word.as_str() {
        "prefer" => SubflowUse::Preferred,
        "backup" => SubflowUse::Backup,
        _ => SubflowUse::Both,
    })
}

fn policies() -> impl TypedValueParser<Value = Policy> {
    let words = [Policy::Require, Policy::Prefer, Policy::Observe].map(Policy::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<Policy>())
}

fn methods() -> impl TypedValueParser<Value = Method> {
    let words = [Method::Side, Method::Resumption, Method::Auto].map(Method::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<Method>())
}

fn bindings() -> impl TypedValueParser<Value = Binding> {
    let words = [Binding::Exporter, Binding::Hello].map(Binding::as_str);
    PossibleValuesParser::new(words).map(|word| match word == Binding::Hello.as_str() {
        true => Binding::Hello,
        false => Binding::Exporter,
    })
}

impl TlsArgs {
    /// The bindings to offer.
    pub(crate) fn bindings(&self) -> Bindings {
        self.binding.map_or(Bindings::ALL, Bindings::from)
    }
}
