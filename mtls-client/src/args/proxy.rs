//! What is typed after `proxy`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::duration;

use super::Shared;

pub(super) const EXAMPLES: &str = "\
Examples:
  mtls-client proxy
      then HTTPS_PROXY=http://127.0.0.1:8118 curl https://example.org/, and the page
      http://127.0.0.1:8118/ shows what came of it
  mtls-client proxy --side if:wwan0 --require '*.bank.example' --exempt '*.lan'
      verified over the mobile network; one bank always, the local network never
  mtls-client proxy --side socks5h://127.0.0.1:9050 --evidence-dir evidence -v
      the side path through Tor, a line for each connection, and what shows an attack is kept

The programs behind it stay as they are: they speak TLS with the server, and the proxy compares
the hello messages (hello binding) over the side path before anything of the server's passes.
QUIC (HTTP/3) does not go through such a proxy, and early data (0-RTT) is refused.";

/// The proxy.
#[derive(Debug, Args)]
#[command(
    mut_arg("policy", |arg| arg.default_value("prefer")),
    mut_arg("side_endpoint", |arg| arg
        .help("Where the side verifier is, for every host")
        .long_help("Where the side verifier is, for every host, if not at each host itself")),
    mut_arg("binding", |arg| arg
        .help("A relay has no keys: `hello` is the only binding that it can offer")),
    mut_arg("json", |arg| arg
        .help("Write each verdict and each end of a tunnel as a line of JSON to standard output")),
    mut_arg("verbose", |arg| arg
        .help("A line for each tunnel; -vv: also what happens (RUST_LOG does so too)")),
    mut_arg("connect_timeout", |arg| arg
        .help("How long a path may take to connect, and then either end for its hello \
               [default: 5s, and 10s]")),
    mut_arg("cacert", |arg| arg.hide(true)),
    mut_arg("system_roots", |arg| arg.hide(true)),
    mut_arg("cert", |arg| arg.hide(true)),
    mut_arg("key", |arg| arg.hide(true)),
    mut_arg("smkex", |arg| arg.hide(true)),
    mut_arg("max_time", |arg| arg.hide(true)),
)]
pub(crate) struct Proxy {
    /// Where programs find the proxy: HTTP, SOCKS4 and SOCKS5 on one port (repeatable)
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8118",
        help_heading = "Proxy"
    )]
    pub(crate) listen: Vec<SocketAddr>,

    /// Listen where others can reach it: the proxy asks nobody for a password
    #[arg(long, help_heading = "Proxy")]
    pub(crate) unsafe_listen: bool,

    /// Hold hosts like this to `require`; `*` is any characters, `:PORT` may follow (repeatable)
    ///
    /// The most specific pattern of --require and --exempt holds: one without `*`, then the
    /// longest, then one with a port; of two that are alike, --require. --require holds for a
    /// host however it is spelled, for names that resolve to an address that it fits, and for
    /// the server name in the TLS hello, which a program sends that resolves names itself.
    #[arg(long, value_name = "GLOB", help_heading = "Verification")]
    pub(crate) require: Vec<String>,

    /// Relay hosts like this plainly, unverified whatever the policy (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Verification")]
    pub(crate) exempt: Vec<String>,

    /// How many tunnels may be open at a time
    #[arg(
        long, value_name = "N", default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Limits"
    )]
    pub(crate) max_tunnels: u32,

    /// How many past connections the page remembers, and as many interceptions
    #[arg(
        long, value_name = "N", default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(0..=10_000), help_heading = "Limits"
    )]
    pub(crate) history: u32,

    /// How long a tunnel may be silent before it is closed
    #[arg(
        long, value_name = "TIME", default_value = "1h", value_parser = duration::parse,
        help_heading = "Limits"
    )]
    pub(crate) idle_timeout: Duration,

    /// How long open tunnels may go on after SIGTERM or SIGINT; a second signal ends at once
    #[arg(
        long, value_name = "TIME", default_value = "10s", value_parser = duration::parse,
        help_heading = "Limits"
    )]
    pub(crate) shutdown_timeout: Duration,

    #[command(flatten)]
    pub(crate) shared: Shared,
}
