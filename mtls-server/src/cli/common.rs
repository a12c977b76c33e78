//! What several commands are told, as typed.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mtls_core::Policy;

use super::time::{duration, positive};
use crate::error::Error;
use crate::service::{Limits, say};
use crate::tls::{DevIdentity, Identity};
use crate::web::HttpLimits;

const POLICIES: &str = "\
What to do with connections that are not verified.
require: refuse them; plain browsers cannot connect.
prefer: serve clients that ask for no verification, hold back those that do until it is done.
observe: serve everybody and report";

/// Where to listen, as typed.
#[derive(Debug, clap::Args)]
pub struct ListenArgs {
    /// Listen here for TLS and side connections; port 0 takes any that is free (repeatable)
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
        required_unless_present = "dev"
    )]
    pub cert: Option<PathBuf>,

    /// The key of the certificate in PEM form; not in a directory that is served
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

    /// After how long without a byte a connection is closed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = positive)]
    pub idle_timeout: Duration,
}

/// What a server turned out to be known by.
pub(super) struct LoadedIdentity {
    pub(super) identity: Identity,
    /// For as long as its CA's file is to stay.
    pub(super) dev: Option<DevIdentity>,
}

impl IdentityArgs {
    /// Reads the certificate, or makes one for the addresses.
    pub(super) fn load(&self, listen: &ListenArgs) -> Result<LoadedIdentity, Error> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Ok(LoadedIdentity {
                identity: Identity::from_files(cert, key)?,
                dev: None,
            }),
            // The command line has one or the other: --dev here.
            _ => {
                let dev = DevIdentity::mint(&listen.listen, self.dev_ca.as_deref())?;
                Ok(LoadedIdentity {
                    identity: dev.identity().clone(),
                    dev: Some(dev),
                })
            }
        }
    }
}

impl IdentityArgs {
    /// What can be told to be wrong without serving.
    pub(super) fn check(&self) -> Result<(), Error> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Identity::from_files(cert, key).map(drop),
            _ => Ok(()),
        }
    }
}

impl LoadedIdentity {
    /// Says how a client can trust a certificate that was made for this run.
    pub(super) fn announce(&self, address: SocketAddr) {
        if let Some(dev) = &self.dev {
            let command = client_command(address, dev.ca_file());
            say(format_args!(
                "certificates for this run only; try:\n  {command}"
            ));
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
        }
    }
}

fn client_command(address: SocketAddr, ca_file: &Path) -> String {
    let port = address.port();
    let url = match address.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => format!("https://localhost:{port}/"),
        _ => format!("https://{address}/"),
    };
    format!("mtls-client get {url} --cacert {}", ca_file.display())
}
