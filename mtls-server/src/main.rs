//! The program `mtls-server`: HTTPS with multipath TLS (not mutual TLS).

use std::io::{self, Write};
use std::process::ExitCode;

use mtls_core::pem::redact;
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
        Err(error) => {
            // Nothing is left to do when standard error is closed.
            let _ = writeln!(io::stderr(), "mtls-server: {}", redact(&error.to_string()));
            error.exit_code()
        }
    }
}
