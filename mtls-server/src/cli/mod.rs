//! The command line of `mtls-server`: one file for each command, and one for what they share.

mod common;
mod config;
mod passthrough;
mod reference;
mod serve;
mod terminate;
mod time;
mod tls_server;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use mtls_core::pem::redact;
use mtls_manual::{CompletionsArgs, ManArgs};

use crate::error::Error;
use crate::service::{finish_log, say, start_log};

pub use common::{HttpArgs, IdentityArgs, LimitArgs, ListenArgs, PolicyArgs, StatusArgs};
pub use config::{CommandLineError, ConfigCommand, ConfigError};
pub use passthrough::{PassthroughArgs, TunnelArgs};
pub use serve::ServeArgs;
pub use terminate::{TargetArgs, TerminateArgs};
pub use tls_server::TlsServerArgs;

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
  mtls-server terminate --target http://127.0.0.1:3000 --cert server.pem --key server.key
      in front of a program that speaks plain HTTP
  mtls-server serve --config /etc/mtls-server.toml
      options from the table [serve] of a file; `mtls-server config check FILE` looks at it

Each option can also stand in the environment: --side-listen in MTLS_SERVER_SIDE_LISTEN (several
with commas between them), and in the file: side-listen = [\"192.0.2.7:9443\"]. What is typed goes
before the environment, and that before the file.

Exit status: 0 stopped by a signal and drained, 1 failed (the message says why), 2 wrong command
line or configuration.";

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
    #[arg(short, long, action = clap::ArgAction::Count, global = true, display_order = 901)]
    pub verbose: u8,

    /// Take options from this TOML file; what is typed, and the environment, go before it
    #[arg(long, value_name = "FILE", global = true, display_order = 900)]
    pub config: Option<PathBuf>,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Serve the files of a directory over HTTPS (HTTP/1.1 and HTTP/2)
    ///
    /// Each response tells in the field Multipath-Verdict what the server knows of the
    /// connection. SIGTERM or SIGINT: open requests may finish; a second signal ends at once.
    /// Changed certificates are taken into use at once, and on SIGHUP.
    #[command(after_help = EXAMPLES)]
    Serve(Box<ServeArgs>),

    /// Stand in front of any TLS 1.3 server, and answer verifications for it
    ///
    /// It relays every connection to the target without a look inside: it holds no private key and
    /// no certificate. SIGTERM or SIGINT: open connections may finish; a second signal ends at
    /// once.
    #[command(after_help = passthrough::EXAMPLES)]
    Passthrough(Box<PassthroughArgs>),

    /// End TLS in front of a web server that speaks plain HTTP, and pass its requests on
    ///
    /// Bodies stream both ways, and WebSockets pass. Changed certificates are taken into use at
    /// once, and on SIGHUP; SIGTERM and SIGINT as in `serve`.
    #[command(after_help = terminate::EXAMPLES)]
    Terminate(Box<TerminateArgs>),

    /// Look at a configuration file
    #[command(subcommand)]
    Config(ConfigCommand),

    /// Generate shell completions
    #[command(after_help = reference::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),

    /// Generate the manual pages
    #[command(after_help = reference::MAN_EXAMPLES)]
    Man(ManArgs),
}

/// The commands that serve nothing: no table of a configuration file and no variable of the
/// environment holds their arguments.
pub(super) const WITHOUT_CONFIGURATION: [&str; 4] = ["config", "completions", "man", "help"];

impl Command {
    async fn run(self) -> Result<(), Error> {
        match self {
            Self::Serve(args) => args.run().await,
            Self::Passthrough(args) => args.run().await,
            Self::Terminate(args) => args.run().await,
            Self::Config(command) => command.run(),
            Self::Completions(args) => reference::completions(&args),
            Self::Man(args) => reference::man(&args),
        }
    }

    /// What can be told to be wrong without serving.
    fn check(&self) -> Vec<Error> {
        match self {
            Self::Serve(args) => args.check(),
            Self::Terminate(args) => args.check(),
            Self::Passthrough(args) => args.check(),
            Self::Config(_) | Self::Completions(_) | Self::Man(_) => Vec::new(),
        }
    }

    /// The addresses to listen on.
    fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Serve(args) => args.server.addresses(),
            Self::Terminate(args) => args.server.addresses(),
            Self::Passthrough(args) => args.addresses(),
            Self::Config(_) | Self::Completions(_) | Self::Man(_) => Vec::new(),
        }
    }
}

/// Does what the command line says, with a runtime and a log of its own, and says on standard
/// error where it serves, and why it failed. A reader of standard error that is slow, or reads
/// nothing, does not delay it: lines are dropped and counted.
///
/// # Errors
/// Everything that can keep a server from starting, and [`Error::Interrupted`]. They have been
/// written to standard error.
pub fn run(cli: Cli) -> Result<(), Error> {
    start_log(cli.verbose);
    let result = run_command(cli.command);
    if let Err(error) = &result {
        say(format_args!("{}", redact(&error.to_string())));
    }
    finish_log();
    result
}

fn run_command(command: Command) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(command.run());
    // A read from a slow disk must not hold the end up.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
