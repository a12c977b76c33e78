//! The command line of `mtls-server`: one file for each command, and one for shared arguments.

mod advertise;
mod common;
mod config;
mod passthrough;
mod reference;
mod registry;
mod serve;
mod terminate;
mod tls_server;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mtls_core::pem::redact;
use mtls_manual::{CompletionsArgs, ManArgs};

use crate::error::Error;
use crate::service::sandbox::{Restricted, Sandbox};
use crate::service::{InheritedSockets, Transport, core_dumps, finish_log, print_line, start_log};

pub use common::{IdentityArgs, ListenArgs, PolicyArgs, StatusArgs};
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use config::fuzz as fuzz_configuration;
pub use config::{CommandLineError, ConfigCommand, ConfigError};
pub use passthrough::PassthroughArgs;
pub use serve::ServeArgs;
pub use terminate::TerminateArgs;
pub use tls_server::TlsServerArgs;

const EXAMPLES: &str = "\
Examples:
  mtls-server serve public --dev
      try it: create certificates for this run, and print a client command
  mtls-server serve /srv/www --cert server.pem --key server.key --listen 0.0.0.0:443
      accept TLS and side connections on one port
  mtls-server serve /srv/www --cert server.pem --key server.key --side-listen 192.0.2.7:9443
      accept side connections on another address too
  mtls-server serve /srv/www --cert server.pem --key server.key --policy require
      refuse clients without a verified connection
  mtls-server terminate --target http://127.0.0.1:3000 --cert server.pem --key server.key
      serve in front of a program that speaks plain HTTP
  mtls-server serve --config /etc/mtls-server.toml
      read options from the table [serve] of a file; `mtls-server config check FILE` checks it

Each option can also be set in the environment, as MTLS_SERVER_SIDE_LISTEN for --side-listen
(several values are separated by commas), and in the file, as side-listen = [\"192.0.2.7:9443\"].
The command line takes precedence over the environment, and the environment over the file.

Exit status: 0 stopped by a signal and drained, 1 failed (the message says why), 2 wrong command
line or configuration.";

/// Serve HTTPS with multipath TLS (MTLS here is multipath TLS, not mutual TLS).
///
/// Clients that speak multipath TLS verify their connection over a second path, and detect a man in
/// the middle even if they trust the attacker's certificate. Other clients see plain HTTPS.
#[derive(Debug, Parser)]
#[command(name = "mtls-server", version, after_help = EXAMPLES)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,

    /// Increase log verbosity; -vv for everything. RUST_LOG sets it in detail
    #[arg(short, long, action = clap::ArgAction::Count, global = true, display_order = 901)]
    pub verbose: u8,

    /// Read options from this TOML file; command line and environment take precedence
    #[arg(long, value_name = "FILE", global = true, display_order = 900)]
    pub config: Option<PathBuf>,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Serve the files of a directory over HTTPS (HTTP/1.1 and HTTP/2)
    ///
    /// Each response has a field Multipath-Verdict with the verdict on its connection. After
    /// SIGTERM or SIGINT, open requests may finish; a second signal ends at once. Changed
    /// certificates are loaded at once, and on SIGHUP.
    #[command(after_help = EXAMPLES)]
    Serve(Box<ServeArgs>),

    /// Relay to any TLS 1.3 server, and answer verifications for it
    ///
    /// Relays every connection to the target without decrypting it, and needs no private key or
    /// certificate. After SIGTERM or SIGINT, open connections may finish; a second signal ends at
    /// once.
    #[command(after_help = passthrough::EXAMPLES)]
    Passthrough(Box<PassthroughArgs>),

    /// Terminate TLS in front of a web server that speaks plain HTTP, and forward requests to it
    ///
    /// Streams bodies in both directions, and supports WebSockets. Changed certificates are loaded
    /// at once, and on SIGHUP; SIGTERM and SIGINT as in `serve`.
    #[command(after_help = terminate::EXAMPLES)]
    Terminate(Box<TerminateArgs>),

    /// Check a configuration file
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
    async fn run(self, inherited: InheritedSockets) -> Result<(), Failure> {
        match self {
            Self::Serve(args) => args.run(inherited).await?,
            Self::Passthrough(args) => args.run(inherited).await?,
            Self::Terminate(args) => args.run(inherited).await?,
            Self::Config(command) => command.run().await?,
            Self::Completions(args) => reference::completions(&args)?,
            Self::Man(args) => reference::man(&args)?,
        }
        Ok(())
    }

    /// Errors in reaching the shared registry.
    async fn check_registry(&self) -> Vec<Error> {
        match self {
            Self::Serve(args) => args.server.registry.check().await,
            Self::Terminate(args) => args.server.registry.check().await,
            Self::Passthrough(args) => args.registry.check().await,
            _ => Vec::new(),
        }
    }

    /// The files that a server reads; `None` without a sandbox.
    fn sandbox(&self) -> Option<Sandbox> {
        match self {
            Self::Serve(args) => args.sandbox(),
            Self::Terminate(args) => args.sandbox(),
            Self::Passthrough(args) => args.sandbox(),
            Self::Config(_) | Self::Completions(_) | Self::Man(_) => None,
        }
    }

    /// The errors that can be found without serving.
    fn check(&self) -> Vec<Error> {
        match self {
            Self::Serve(args) => args.check(),
            Self::Terminate(args) => args.check(),
            Self::Passthrough(args) => args.check(),
            Self::Config(_) | Self::Completions(_) | Self::Man(_) => Vec::new(),
        }
    }

    /// The addresses to listen on.
    fn addresses(&self) -> Vec<(SocketAddr, Transport)> {
        match self {
            Self::Serve(args) => args.server.addresses(),
            Self::Terminate(args) => args.server.addresses(),
            Self::Passthrough(args) => args.addresses(),
            Self::Config(_) | Self::Completions(_) | Self::Man(_) => Vec::new(),
        }
    }
}

/// Runs a command, with a runtime and a log of its own, and prints addresses and errors on standard
/// error. A slow or stalled reader of standard error does not delay it: lines are dropped and counted.
///
/// # Errors
/// The errors that keep a server from starting, [`Error::Interrupted`], and those of `config check`.
/// They have been written to standard error.
pub fn run(cli: Cli) -> Result<(), Failure> {
    // Before there are other threads.
    let sandbox = cli.command.sandbox();
    let restricted = sandbox.map(|sandbox| sandbox.enter());
    start_log(cli.verbose);
    report(restricted.as_ref());
    core_dumps::disable();
    let result = run_command(cli.command);
    if let Err(failure) = &result {
        print_line(format_args!("{}", redact(&failure.to_string())));
    }
    finish_log();
    result
}

fn report(restricted: Option<&Restricted>) {
    match restricted {
        Some(restricted) if restricted.is_in_force() => tracing::info!("sandbox: {restricted}"),
        Some(restricted) => tracing::warn!("sandbox: {restricted}"),
        None => {}
    }
}

/// The reason why a command failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Of a configuration that was to be checked.
    Config(CommandLineError),
    /// Of a server.
    Server(Error),
}

impl Failure {
    /// The exit status: 2 for invalid options, as clap's, and otherwise 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            Self::Server(error) => error.exit_code(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Server(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Server(error) => error.source(),
        }
    }
}

impl From<CommandLineError> for Failure {
    fn from(error: CommandLineError) -> Self {
        Self::Config(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

fn run_command(command: Command) -> Result<(), Failure> {
    // Before there are other threads.
    let inherited = InheritedSockets::from_environment()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(command.run(inherited));
    // A read from a slow disk must not delay the exit.
    runtime.shutdown_background();
    match result {
        Err(Failure::Server(Error::StoppedEarly)) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    use crate::passthrough::TunnelLimits;
    use crate::service::Limits;
    use crate::web::{HttpLimits, TargetLimits};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_defaults_of_the_library_and_of_the_command_line_are_the_same() {
        let parse = |arguments: &[&str]| {
            let all = [&["mtls-server"], arguments].concat();
            Cli::try_parse_from(all).expect("to parse").command
        };
        let target = ["terminate", "--target", "http://127.0.0.1:1", "--dev"];
        let Command::Terminate(terminate) = parse(&target) else {
            panic!("another command");
        };
        let text = |limits: &dyn fmt::Debug| format!("{limits:?}");
        assert_eq!(text(&terminate.server.http), text(&HttpLimits::default()));
        assert_eq!(text(&terminate.server.limits), text(&Limits::default()));
        let limits = text(&terminate.target_limits);
        assert_eq!(limits, text(&TargetLimits::default()));
        let Command::Passthrough(passthrough) = parse(&["passthrough", "--target", "x:1"]) else {
            panic!("another command");
        };
        assert_eq!(text(&passthrough.limits), text(&TunnelLimits::default()));
    }
}
