//! The programs within `mtls-lab`, so that it needs no other file to start them.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

/// Run a program with these arguments.
#[derive(Args, Clone, Debug)]
pub struct ProgramArgs {
    /// Arguments of the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

impl ProgramArgs {
    /// All arguments, after the program's name.
    fn named(&self, name: &str) -> impl Iterator<Item = OsString> {
        std::iter::once(OsString::from(name)).chain(self.arguments.iter().cloned())
    }
}

/// Runs `mtls-server` in this process.
#[must_use]
pub fn server(args: &ProgramArgs) -> ExitCode {
    match mtls_server::Cli::from_arguments(args.named("mtls-server")) {
        Ok(cli) => match mtls_server::run(cli) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.exit_code(),
        },
        Err(error) => error.report(),
    }
}

/// Runs `mtls-client` in this process.
#[must_use]
pub fn client(args: &ProgramArgs) -> ExitCode {
    mtls_client::run(args.named("mtls-client"))
}
