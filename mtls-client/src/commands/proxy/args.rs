//! Options of `proxy`.

use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::pattern::Pattern;
use crate::args::known_hosts::KnownHostsArgs;
use crate::args::{OutputArgs, PathArgs, VerifyArgs, duration};
use crate::failure::Failure;

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

/// The command `proxy`.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("policy", |arg| arg.default_value("prefer")),
    mut_arg("side_endpoint", |arg| arg
        .help("Address of the side verifier, for every host")
        .long_help("Address of the side verifier, for every host, if it is not the host itself")),
    mut_arg("json", |arg| arg
        .help("Write each verdict and each end of a tunnel as a line of JSON to standard output")),
    mut_arg("verbose", |arg| arg
        .help("Write a line for each tunnel to standard error; -vv also logs events (or set \
               RUST_LOG)")),
)]
pub(crate) struct Args {
    /// Listen address for HTTP, SOCKS4 and SOCKS5, on one port (repeatable)
    ///
    /// A link-local address needs a zone: `[fe80::1%eth0]:8118`.
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8118",
        value_parser = listen_address,
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
    pub(crate) require: Vec<Pattern>,

    /// Relay these hosts without verification, under every policy (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Verification options")]
    pub(crate) exempt: Vec<Pattern>,

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
    pub(crate) paths: PathArgs,

    #[command(flatten)]
    pub(crate) verify: VerifyArgs,

    #[command(flatten)]
    pub(crate) known_hosts: KnownHostsArgs,

    /// Maximum time for a path to connect, and then for the hello of either end [default: 5s, and
    /// 10s]
    #[arg(
        long, value_name = "TIME", value_parser = duration::parse, help_heading = "Timeouts"
    )]
    pub(crate) connect_timeout: Option<Duration>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl Args {
    /// Refuses a listen address beyond loopback without `--unsafe-listen`.
    pub(super) fn check_listen(&self) -> Result<(), Failure> {
        let public = self
            .listen
            .iter()
            .find(|address| !address.ip().is_loopback());
        match public.filter(|_| !self.unsafe_listen) {
            None => Ok(()),
            Some(address) => Err(Failure::usage(
                "--listen",
                format_args!(
                    "other hosts can reach {address}, and the proxy has no authentication; add \
                     --unsafe-listen to allow them"
                ),
            )),
        }
    }

    pub(super) fn max_tunnels(&self) -> usize {
        usize::try_from(self.max_tunnels).unwrap_or(usize::MAX)
    }

    pub(super) fn history(&self) -> usize {
        usize::try_from(self.history).unwrap_or(usize::MAX)
    }
}

/// Parses `IP:PORT`, in which a link-local address has a zone.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let Some((ip, zone, port)) = zoned(text) else {
        return match text.parse() {
            Ok(SocketAddr::V6(ip)) if ip.ip().is_unicast_link_local() && ip.scope_id() == 0 => Err(
                format!("`{text}` has no zone; write its interface, as in [fe80::1%eth0]:8118"),
            ),
            Ok(address) => Ok(address),
            Err(_) => Err(format!(
                "`{text}` is not IP:PORT; write an address such as 127.0.0.1:8118 or [::1]:8118"
            )),
        };
    };
    // getaddrinfo(3) looks up the interface of the zone, and no name.
    let addresses = (format!("{ip}%{zone}").as_str(), port).to_socket_addrs();
    let address = addresses.ok().and_then(|mut addresses| addresses.next());
    address.ok_or_else(|| {
        format!("`{zone}` is not a zone of {ip}; write an interface of this machine, as in [fe80::1%eth0]:8118")
    })
}

/// Address, zone and port of `[IP%ZONE]:PORT`, where `%` may be written `%25` (RFC 6874).
fn zoned(text: &str) -> Option<(Ipv6Addr, &str, u16)> {
    let (host, port) = text.strip_prefix('[')?.split_once("]:")?;
    let (ip, zone) = host.split_once('%')?;
    let decoded = zone.strip_prefix("25").filter(|zone| !zone.is_empty());
    Some((
        ip.parse().ok()?,
        decoded.unwrap_or(zone),
        port.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_may_have_a_zone() {
        for (text, expected) in [
            ("127.0.0.1:8118", "127.0.0.1:8118"),
            ("[::1]:0", "[::1]:0"),
            ("[fe80::1%lo]:8118", "[fe80::1%1]:8118"),
            ("[fe80::1%25lo]:8118", "[fe80::1%1]:8118"),
            ("[fe80::1%1]:8118", "[fe80::1%1]:8118"),
        ] {
            let address = listen_address(text).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_listen_addresses_are_refused_with_the_remedy() {
        for (text, expected) in [
            ("localhost", "127.0.0.1:8118"),
            ("localhost:8118", "127.0.0.1:8118"),
            ("127.0.0.1", "127.0.0.1:8118"),
            ("[fe80::1]:8118", "has no zone"),
            ("[fe80::1%none0]:8118", "`none0` is not a zone"),
            ("[fe80::1%]:8118", "is not a zone"),
            ("[fe80::1%lo]:http", "127.0.0.1:8118"),
        ] {
            let error = listen_address(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
