//! What several commands are told, as typed.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use mtls_core::Policy;
use mtls_core::http_io::HeadLimit;

use super::time::{duration, positive};
use crate::error::Error;
use crate::service::{Limits, Program};
use crate::web::HttpLimits;

const POLICIES: &str = "\
What to do with connections that are not verified.
require: refuse them; plain browsers cannot connect.
prefer: serve clients that ask for no verification, hold back those that do until it is done.
observe: serve everybody and report";

/// Where to listen, as typed.
#[derive(Debug, clap::Args)]
pub struct ListenArgs {
    /// Listen here for TLS and side connections; port 0 takes any that is free, [::] takes IPv6
    /// connections only (repeatable)
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8443")]
    pub listen: Vec<SocketAddr>,

    /// Listen here for side connections only (repeatable)
    #[arg(long, value_name = "IP:PORT")]
    pub side_listen: Vec<SocketAddr>,
}

/// The policy, as typed.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// What to do with connections that are not verified: require, prefer or observe
    #[arg(long, value_name = "POLICY", default_value = "prefer", long_help = POLICIES)]
    pub policy: Policy,
}

/// Whose server it is, as typed.
#[derive(Debug, clap::Args)]
pub struct IdentityArgs {
    /// The certificate chain in PEM form, the server's own certificate first
    #[arg(
        long,
        value_name = "FILE",
        requires = "key",
        required_unless_present_any = ["dev", "smkex"]
    )]
    pub cert: Option<PathBuf>,

    /// The key of the certificate in PEM form; not in a directory that is served
    #[arg(
        long,
        value_name = "FILE",
        requires = "cert",
        required_unless_present_any = ["dev", "smkex"]
    )]
    pub key: Option<PathBuf>,

    /// Make certificates for this run, from an authority that nobody else knows
    #[arg(long, conflicts_with_all = ["cert", "key"])]
    pub dev: bool,

    /// With --dev: write the authority's certificate here, not to a temporary file
    #[arg(long, value_name = "FILE", requires = "dev", conflicts_with_all = ["cert", "key"])]
    pub dev_ca: Option<PathBuf>,

    /// Demand certificates of these authorities from clients (mutual TLS inside multipath TLS)
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// Do without certificates (SMKEX): show a raw public key that is made at the start, and
    /// require that clients verify over their side paths (--policy require)
    ///
    /// Clients need --smkex too. They check no name, and nothing is left against attackers on all
    /// of a client's paths who work together.
    #[arg(long, conflicts_with_all = ["cert", "key", "dev", "dev_ca", "client_ca"])]
    pub smkex: bool,
}

/// The status page, as typed.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Answer here for the state by plain HTTP: /status, /metrics, /healthz and /readyz
    #[arg(long, value_name = "IP:PORT")]
    pub status: Option<SocketAddr>,

    /// Let --status be an address that others reach: they can read who is served and how
    #[arg(long, requires = "status")]
    pub unsafe_status: bool,
}

/// The bounds of every service, as typed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub struct LimitArgs {
    /// Connections at a time; more wait
    #[arg(long, value_name = "N", default_value = "4096")]
    pub max_connections: NonZeroUsize,

    /// How long what is open may go on after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub shutdown_timeout: Duration,
}

/// The bounds of HTTP, as typed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub struct HttpArgs {
    /// How long an HTTP/1.1 client may take to send a request header, waiting included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = positive)]
    pub header_timeout: Duration,

    /// After how long without a byte a connection is closed while the client is to send or to read
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = positive)]
    pub idle_timeout: Duration,

    /// The same while a client waits for a response or for more of one (server-sent events), and
    /// for WebSockets
    #[arg(long, value_name = "TIME", default_value = "60m", value_parser = positive)]
    pub stream_timeout: Duration,

    /// Longest request line and header fields in bytes, over HTTP/1.1 and HTTP/2; more get 431
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 32_768,
        value_parser = clap::value_parser!(u32).range(1_024..=262_144)
    )]
    pub max_header_size: u32,
}

impl ListenArgs {
    /// All addresses of a command, in the order in which it binds them.
    pub(super) fn addresses(&self, status: &StatusArgs) -> Vec<SocketAddr> {
        let listen = self.listen.iter().chain(&self.side_listen);
        status.status.iter().chain(listen).copied().collect()
    }
}

impl StatusArgs {
    /// What can be told to be wrong without serving.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.status {
            Some(address) if !address.ip().is_loopback() && !self.unsafe_status => {
                Err(Error::StatusInTheOpen(address))
            }
            _ => Ok(()),
        }
    }

    /// Opens the page, if there is to be one.
    pub(super) fn open(&self, program: &mut Program) -> Result<(), Error> {
        self.check()?;
        match self.status {
            Some(address) => program.open_status(address),
            None => Ok(()),
        }
    }
}

impl LimitArgs {
    /// What they mean.
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections.get(),
            shutdown_timeout: self.shutdown_timeout,
            ..Limits::default()
        }
    }
}

impl HttpArgs {
    /// What they mean.
    pub fn limits(&self) -> HttpLimits {
        HttpLimits {
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            request_head: HeadLimit::new(self.max_header_size as usize),
            stream_timeout: self.stream_timeout,
        }
    }
}
