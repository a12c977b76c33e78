//! The program `mtls-server`: HTTPS with multipath TLS (not mutual TLS).

use std::process::ExitCode;

use mtls_server::{Cli, run};

/// 0 when the server was told to stop and has, 1 when it failed, 2 for a bad command line or
/// configuration.
fn main() -> ExitCode {
    let cli = match Cli::from_arguments(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return error.report(),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.exit_code(),
    }
}
