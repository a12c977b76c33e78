//! The command line of `mtls-server`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mtls_core::Policy;

use crate::options::Limits;

const EXAMPLES: &str = "\
Examples:
  mtls-server serve public --dev
      try it: certificates are made for this run, and the client's command is printed
  mtls-server serve /srv/www --cert server.pem --key server.key --listen 0.0.0.0:443
      TLS and side connections on one port
  mtls-server serve /srv/www --cert server.pem --key server.key --side-listen 192.0.2.7:9443
      side connections on another address as well
  mtls-server serve /srv/www --cert server.pem --key server.key --policy require
      no client without a verified connection

Exit status: 0 stopped by a signal and drained, 1 failed (the message says why), 2 wrong command
line.";

const POLICIES: &str = "\
What to do with connections that are not verified.
require: refuse them; plain browsers cannot connect.
prefer: serve clients that ask for no verification, hold back those that do until it is done.
observe: serve everybody and report";

/// Serve HTTPS with multipath TLS (MTLS here is multipath TLS, not mutual TLS).
///
/// Clients that speak multipath TLS verify their connection over a second path, and notice a man
/// in the middle whom their certificate store trusts. Other clients see plain HTTPS.
#[derive(Debug, Parser)]
#[command(name = "mtls-server", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say more on standard error; twice for everything. RUST_LOG says it in detail
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Serve the files of a directory over HTTPS (HTTP/1.1 and HTTP/2)
    ///
    /// Each response tells in the field Multipath-Verdict what the server knows of the
    /// connection. SIGTERM or SIGINT: open requests may finish; a second signal ends at once.
    #[command(after_help = EXAMPLES)]
    Serve(Box<ServeArgs>),
}

/// The options of `serve`, as typed.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The directory; index.html stands for a directory, and nothing is ever listed
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Listen here for TLS and side connections; port 0 takes any that is free (repeatable)
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8443")]
    pub listen: Vec<SocketAddr>,

    /// Listen here for side connections only (repeatable)
    #[arg(long, value_name = "IP:PORT")]
    pub side_listen: Vec<SocketAddr>,

    /// The certificate chain in PEM form, the server's own certificate first
    #[arg(
        long,
        value_name = "FILE",
        requires = "key",
        required_unless_present = "dev"
    )]
    pub cert: Option<PathBuf>,

    /// The key of the certificate in PEM form; not in DIR
    #[arg(
        long,
        value_name = "FILE",
        requires = "cert",
        required_unless_present = "dev"
    )]
    pub key: Option<PathBuf>,

    /// Make certificates for this run, from an authority that nobody else knows
    #[arg(long, conflicts_with_all = ["cert", "key"])]
    pub dev: bool,

    /// With --dev: write the authority's certificate here, not to a temporary file
    #[arg(long, value_name = "FILE", requires = "dev", conflicts_with_all = ["cert", "key"])]
    pub dev_ca: Option<PathBuf>,

    /// What to do with connections that are not verified: require, prefer or observe
    #[arg(long, value_name = "POLICY", default_value = "prefer", long_help = POLICIES)]
    pub policy: Policy,

    /// The bounds.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// The bounds, as typed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub struct LimitArgs {
    /// HTTPS connections at a time; more wait
    #[arg(long, value_name = "N", default_value = "4096")]
    pub max_connections: NonZeroUsize,

    /// How long an HTTP/1.1 client may take to send a request header, waiting included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = positive)]
    pub header_timeout: Duration,

    /// After how long without a byte a connection is closed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = positive)]
    pub idle_timeout: Duration,

    /// How long open requests may go on after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub shutdown_timeout: Duration,
}

impl LimitArgs {
    /// What they mean.
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections.get(),
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            shutdown_timeout: self.shutdown_timeout,
            ..Limits::default()
        }
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// `10s`, `250ms`, `5m`, or seconds as a plain number.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        _ => return Err(NOT_A_DURATION.to_owned()),
    };
    let count: u32 = digits.parse().map_err(|_| NOT_A_DURATION.to_owned())?;
    Ok(Duration::from_millis(u64::from(count) * unit_ms))
}

const NOT_A_DURATION: &str = "expected a time such as 10s, 250ms or 5m";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "s", "-1s", "1h", "1.5s", "1 s", "99999999999s", "ß"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        assert!(positive("0s").is_err());
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
    }
}
