//! Arguments of `proxy`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::args::duration;

use crate::args::Shared;

pub(crate) const EXAMPLES: &str = "\
Examples:
  mtls-client proxy
      start the proxy; then HTTPS_PROXY=http://127.0.0.1:8118 curl https://example.org/, and
      http://127.0.0.1:8118/ shows the verdicts
  mtls-client proxy --side if:wwan0 --require '*.bank.example' --exempt '*.lan'
      verify over the mobile network; one bank under `require`, the local network not at all
  mtls-client proxy --side socks5h://127.0.0.1:9050 --evidence-dir evidence -v
      use Tor for the side path, print a line for each connection, and save evidence

Programs need no changes: they speak TLS with the server, and the proxy verifies the hello messages
(hello binding) over the side path before it relays data from the server. QUIC (HTTP/3) does not
use such a proxy, and early data (0-RTT) is refused.";

/// Arguments of `proxy`.
#[derive(Debug, Args)]
#[command(
    mut_arg("policy", |arg| arg.default_value("prefer")),
    mut_arg("side_endpoint", |arg| arg
        .help("Address of the side verifier, for every host")
        .long_help("Address of the side verifier, for every host, if it is not the host itself")),
    mut_arg("binding", |arg| arg
        .help("Binding to offer: `hello` is the only one that a relay can offer")),
    mut_arg("json", |arg| arg
        .help("Write each verdict and each end of a tunnel as a line of JSON to standard output")),
    mut_arg("verbose", |arg| arg
        .help("Write a line for each tunnel to standard error; -vv also logs events (or set \
               RUST_LOG)")),
    mut_arg("connect_timeout", |arg| arg
        .help("Maximum time for a path to connect, and then for the hello of either end \
               [default: 5s, and 10s]")),
    mut_arg("cacert", |arg| arg.hide(true)),
    mut_arg("system_roots", |arg| arg.hide(true)),
    mut_arg("cert", |arg| arg.hide(true)),
    mut_arg("key", |arg| arg.hide(true)),
    mut_arg("smkex", |arg| arg.hide(true)),
    mut_arg("max_time", |arg| arg.hide(true)),
)]
pub(crate) struct Proxy {
    /// Listen address for HTTP, SOCKS4 and SOCKS5, on one port (repeatable)
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8118",
        help_heading = "Proxy options"
    )]
    pub(crate) listen: Vec<SocketAddr>,

    /// Allow a listen address beyond loopback: the proxy has no authentication
    #[arg(long, help_heading = "Proxy options")]
    pub(crate) unsafe_listen: bool,

    /// Apply `require` to these hosts; `*` matches any characters, `:PORT` may follow (repeatable)
    ///
    /// The most specific pattern of --require and --exempt applies: one without `*`, then the
    /// longest, then one with a port; of two equal patterns, the one of --require. --require
    /// applies to every spelling of a host, to names that resolve to a matching address, and to
    /// the server name in the TLS hello of a program that resolves names itself.
    #[arg(long, value_name = "GLOB", help_heading = "Verification options")]
    pub(crate) require: Vec<String>,

    /// Relay these hosts without verification, under every policy (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Verification options")]
    pub(crate) exempt: Vec<String>,

    /// Maximum number of tunnels at a time; one more gets 503
    #[arg(
        long, value_name = "N", default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Limits"
    )]
    pub(crate) max_tunnels: u32,

    /// Number of past connections on the page, and of interceptions in addition
    #[arg(
        long, value_name = "N", default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(0..=10_000), help_heading = "Limits"
    )]
    pub(crate) history: u32,

    /// Close a tunnel after this time without a byte in either direction
    #[arg(
        long, value_name = "TIME", default_value = "1h", value_parser = duration::parse,
        help_heading = "Limits"
    )]
    pub(crate) idle_timeout: Duration,

    /// Grace period for tunnels after SIGTERM or SIGINT; a second signal ends at once
    #[arg(
        long, value_name = "TIME", default_value = "10s", value_parser = duration::parse,
        help_heading = "Limits"
    )]
    pub(crate) shutdown_timeout: Duration,

    #[command(flatten)]
    pub(crate) shared: Shared,
}
