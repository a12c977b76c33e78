//! The program `mtls-client`: fetches pages and checks servers by multipath TLS, and does so for
//! programs that know nothing of it.
//!
//! "MTLS" is *multipath* TLS here, not mutual TLS. The program shows what the library
//! [`mtls_core`] does; [`run`] is all of it, and [`Exit`] names its exit statuses.
//!
//! What was typed becomes what it means once, before anything else happens; then
//! connections are made, their verdicts told, and the worst of them is the exit status.

mod args;
mod cli;
mod commands;
mod connect;
mod exit;
mod output;
mod usage;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use mtls_core::pem::redact;

use crate::cli::Cli;
use crate::connect::failure::Failure;
use crate::connect::settings::Settings;
use crate::output::{messages, trace};
use crate::usage::{Command, UsageError};

pub use crate::exit::Exit;

/// Does what the command line says, of which the first word is the program's name.
///
/// Writes to standard output and standard error. Call it once in a process: it also decides where
/// log messages go.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads is no failure.
            let _ = match redact(&error.render().to_string()) {
                Cow::Borrowed(_) => error.print(),
                Cow::Owned(text) => write!(io::stderr(), "{text}"),
            };
            return match error.use_stderr() {
                true => Exit::Usage.into(),
                false => Exit::Success.into(),
            };
        }
    };
    match usage::understand(cli).and_then(|command| act(&command)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = error.exit();
            let message = match exit {
                Exit::Usage => format!("{error}. See `mtls-client --help`."),
                _ => format!("{error}."),
            };
            messages::error(&Failure::new(exit, "usage", message));
            exit.into()
        }
    }
}

fn act(command: &Command) -> Result<Exit, UsageError> {
    match command {
        Command::Get(get, settings) => drive(settings, commands::get::get(get, settings)),
        Command::Check(check, settings) => drive(settings, commands::check::check(check, settings)),
        Command::Paths(paths, settings) => drive(settings, commands::paths::paths(paths, settings)),
        Command::Connect(connect, settings) => {
            drive(settings, commands::connect::connect(connect, settings))
        }
        Command::Proxy(proxy, settings) => commands::proxy::proxy(proxy, settings),
        Command::Completions(shell) => Ok(commands::reference::completions(*shell)),
        Command::Man(dir) => Ok(commands::reference::man(dir)),
    }
}

/// Runs what a command does to its end.
fn drive(
    settings: &Settings,
    work: impl Future<Output = Result<Exit, UsageError>>,
) -> Result<Exit, UsageError> {
    trace::start(settings.verbose, std::io::stderr);
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("the system gives no event queue: {error}.");
            messages::error(&Failure::new(Exit::Connect, "no-event-queue", message));
            return Ok(Exit::Connect);
        }
    };
    let exit = runtime.block_on(work);
    // A look-up that was given up may still occupy a thread.
    runtime.shutdown_background();
    exit
}
