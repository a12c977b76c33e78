//! The command line of `mtls-certs`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::{Error, HostName, Pki};

const EXAMPLES: &str = "\
Examples:
  mtls-certs init pki
      create certificates for localhost, 127.0.0.1 and ::1
  mtls-certs init pki --host example.test --host '*.example.test' --host 192.0.2.7
      create certificates for these names and addresses only
  mtls-certs init pki --force
      replace existing keys and certificates

Exit status: 0 done, 1 failed (the message says why), 2 wrong command line.";

/// Create test certificates for multipath TLS (not mutual TLS).
///
/// Creates a CA with a server certificate, and a rogue CA of the same subject with a certificate
/// for the same server, as a man in the middle would use. For tests and development only.
#[derive(Debug, Parser)]
#[command(name = "mtls-certs", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a CA, a server, a rogue CA and a rogue server into a directory
    #[command(after_help = EXAMPLES)]
    Init(Init),
}

#[derive(Debug, clap::Args)]
struct Init {
    /// Output directory, created if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// DNS name or IP address of the server (repeatable)
    #[arg(
        long = "host",
        value_name = "NAME",
        default_values = ["localhost", "127.0.0.1", "::1"]
    )]
    hosts: Vec<HostName>,

    /// Overwrite existing files
    #[arg(long)]
    force: bool,
}

/// Does what the command line says, and reports it on `out`.
///
/// # Errors
///
/// As [`Pki::new`] and [`Pki::write`]; [`Error::Output`] if `out` fails, when everything has
/// been done.
pub fn run(cli: Cli, out: &mut impl Write) -> Result<(), Error> {
    let Command::Init(init) = cli.command;
    Pki::new(&init.hosts)?.write(&init.dir, init.force)?;
    report(&init.dir, &init.hosts, out).map_err(Error::Output)
}

fn report(dir: &Path, hosts: &[HostName], out: &mut impl Write) -> io::Result<()> {
    let hosts: Vec<&str> = hosts.iter().map(AsRef::as_ref).collect();
    write!(
        out,
        "\
Wrote test certificates for {hosts} to {dir}:

  ca.pem        the CA: clients trust it
  ca.key        its key, to issue more certificates
  server.pem    the server's chain, for 90 days
  server.key    its key

  rogue-ca.pem  an attacker's CA: the same subject, another key
  rogue-ca.key  its key
  rogue.pem     a man in the middle's chain, for the same names
  rogue.key     its key

The rogue files are for tests only: a client that trusts rogue-ca.pem too accepts rogue.pem over
plain TLS, and multipath TLS detects it. (MTLS here is multipath TLS, not mutual TLS.)
Keys can be read by you alone (mode 0600).
",
        hosts = hosts.join(", "),
        dir = dir.display(),
    )
}
