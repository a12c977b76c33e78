//! Arguments of several commands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::{Policy, SideServiceSettings};

use crate::arguments::positive;
use crate::error::Error;
use crate::service::sandbox::Sandbox;
use crate::service::{Monitor, Network, Program, Transport};

const POLICIES: &str = "\
Action for connections that are not verified.
require: refuse them; plain browsers cannot connect.
prefer: serve clients that open no verification, and hold back those that do until it is complete.
observe: serve all clients and report";

/// The listen addresses of a server.
#[derive(Debug, clap::Args)]
pub struct ListenArgs {
    /// Listen address for TLS and side connections; port 0 selects a free port, `[::]` accepts IPv6
    /// connections only (repeatable). Sockets from systemd take its place
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8443")]
    pub listen: Vec<SocketAddr>,

    /// Listen address for side connections only (repeatable)
    #[arg(long, value_name = "IP:PORT")]
    pub side_listen: Vec<SocketAddr>,

    /// Accept Multipath TCP at the --listen addresses, besides TCP
    ///
    /// Clients of TCP are served as before. `ip mptcp limits` sets how many subflows the kernel
    /// accepts for a connection. systemd opens such sockets with `SocketProtocol=mptcp`.
    #[arg(long)]
    pub mptcp: bool,

    /// Load balancer that sends a PROXY protocol header (version 1 or 2) with each connection; the
    /// address in it counts as the client's. Connections from other addresses have no header
    /// (repeatable)
    #[arg(long, value_name = "ADDRESS|NETWORK")]
    pub accept_proxy: Vec<Network>,

    /// Keep all rights of the process: by default it can open only the files that its options name,
    /// and drops capabilities
    #[arg(long)]
    pub no_sandbox: bool,
}

/// The policy, and the time for a verification.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// Action for connections that are not verified: require, prefer or observe
    #[arg(long, value_name = "POLICY", default_value = "prefer", long_help = POLICIES)]
    pub policy: Policy,

    /// Maximum time to wait for a client's verification before the policy applies
    ///
    /// It counts from the ClientHello with --policy require, and with prefer from the first bytes of a
    /// client that has opened a verification; other clients do not wait then.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "3s",
        value_parser = positive,
        help_heading = "Limits"
    )]
    pub deadline: Duration,
}

/// The identity of the server.
#[derive(Debug, clap::Args)]
pub struct IdentityArgs {
    /// Certificate chain in PEM form, the server's own certificate first
    #[arg(
        long,
        value_name = "FILE",
        requires = "key",
        required_unless_present_any = ["dev", "smkex"]
    )]
    pub cert: Option<PathBuf>,

    /// Private key of the certificate in PEM form; it must not be in the directory that is served
    #[arg(
        long,
        value_name = "FILE",
        requires = "cert",
        required_unless_present_any = ["dev", "smkex"]
    )]
    pub key: Option<PathBuf>,

    /// Create certificates for this run from a throwaway CA, and print a client command to try
    #[arg(long, conflicts_with_all = ["cert", "key"])]
    pub dev: bool,

    /// With --dev, write the CA's certificate to FILE instead of a temporary file
    #[arg(long, value_name = "FILE", requires = "dev", conflicts_with_all = ["cert", "key"])]
    pub dev_ca: Option<PathBuf>,

    /// Require client certificates from the CAs in FILE (mutual TLS inside multipath TLS)
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// Use no certificate (SMKEX) but a raw public key that is created at the start, and require
    /// clients to verify over their side paths (--policy require)
    ///
    /// Clients need --smkex too. They check no name, and attackers on all paths of a client who
    /// work together are not detected.
    #[arg(long, conflicts_with_all = ["cert", "key", "dev", "dev_ca", "client_ca"])]
    pub smkex: bool,

    /// With --smkex, private key in PEM form to use at every start; it is created (Ed25519, mode
    /// 0600) if FILE does not exist
    ///
    /// Clients that remember the server recognise it by its key after a restart.
    #[arg(
        long,
        value_name = "FILE",
        requires = "smkex",
        conflicts_with_all = ["cert", "key", "dev", "dev_ca", "client_ca"]
    )]
    pub smkex_key: Option<PathBuf>,
}

/// The status page.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Serve /status, /metrics, /healthz and /readyz over plain HTTP at this address
    #[arg(long, value_name = "IP:PORT")]
    pub status: Option<SocketAddr>,

    /// Allow a --status address beyond loopback: other hosts can then read status and metrics
    #[arg(long, requires = "status")]
    pub unsafe_status: bool,
}

impl ListenArgs {
    /// The addresses of a command, in the order in which it binds them.
    pub(super) fn addresses(&self, status: &StatusArgs) -> Vec<(SocketAddr, Transport)> {
        let transport = Transport::of(self.mptcp);
        let listen = self.listen.iter().map(|&address| (address, transport));
        let tcp = |&address: &SocketAddr| (address, Transport::Tcp);
        let status = status.status.iter().map(tcp);
        let sides = self.side_listen.iter().map(tcp);
        status.chain(listen).chain(sides).collect()
    }
}

impl PolicyArgs {
    /// The settings of a side service whose events the status page counts.
    pub(super) fn side_settings(&self, monitor: &Arc<Monitor>) -> SideServiceSettings {
        monitor.side_settings(self.policy).deadline(self.deadline)
    }
}

impl IdentityArgs {
    /// Allows the files that these options name.
    pub(super) fn allow(&self, mut sandbox: Sandbox) -> Sandbox {
        for file in [&self.cert, &self.key, &self.client_ca]
            .into_iter()
            .flatten()
        {
            sandbox = sandbox.file(file);
        }
        if self.dev {
            sandbox = sandbox.writable(&std::env::temp_dir());
        }
        let new = self.dev_ca.iter();
        let new = new.chain(self.smkex_key.iter().filter(|file| !file.exists()));
        let read = self.smkex_key.iter();
        let sandbox = new.fold(sandbox, |sandbox, file| sandbox.new_file(file));
        read.fold(sandbox, |sandbox, file| sandbox.file(file))
    }
}

impl StatusArgs {
    /// The errors that can be found without serving.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.status {
            Some(address) if !address.ip().is_loopback() && !self.unsafe_status => {
                Err(Error::StatusInTheOpen(address))
            }
            _ => Ok(()),
        }
    }

    /// Opens the status page if `--status` is given.
    pub(super) fn open(&self, program: &mut Program) -> Result<(), Error> {
        self.check()?;
        match self.status {
            Some(address) => program.open_status(address),
            None => Ok(()),
        }
    }
}
