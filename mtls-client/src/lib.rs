//! The program `mtls-client`: fetches pages and checks servers over multipath TLS, and runs a proxy
//! that does so for unmodified programs.
//!
//! "MTLS" is *multipath* TLS here, not mutual TLS. The program shows what the library
//! [`mtls_core`] does; [`run`] runs it, and [`Exit`] lists its exit statuses.
//!
//! `cli` parses the command line. `args` has the options that commands share, `connect` and
//! `output` the code that they share, and `commands` a folder for each command.

mod args;
mod cli;
mod commands;
mod connect;
mod exit;
mod failure;
#[cfg(any(test, feature = "__fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod output;
mod runtime;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::commands::{
    check, connect as connect_command, evidence, get, hosts, paths, proxy, reference, watch,
};
use crate::failure::Failure;
use crate::output::messages;

pub use crate::exit::Exit;

/// Runs the program with these arguments; the first is the program's name.
///
/// Writes to standard output and standard error. Call it once in a process: it also installs the
/// subscriber for log messages.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = match cli::parse(arguments) {
        Ok(cli) => execute(cli.command),
        Err(exit) => return exit.into(),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            messages::error(&failure);
            failure.exit.into()
        }
    }
}

fn execute(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Get(args) => get::run(*args),
        Command::Check(args) => check::run(args),
        Command::Connect(args) => connect_command::run(args),
        Command::Paths(args) => paths::run(args),
        Command::Watch(args) => watch::run(*args),
        Command::Proxy(args) => proxy::run(*args),
        Command::Evidence(args) => evidence::run(args),
        Command::Hosts(args) => hosts::run(args),
        Command::Completions(args) => reference::completions(args.shell, Cli::command()),
        Command::Man(args) => reference::man(&args.dir, Cli::command()),
    }
}
