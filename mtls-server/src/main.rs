//! The program `mtls-server`: HTTPS with multipath TLS (not mutual TLS).

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use mtls_server::{Cli, run};

/// 0 when the server was told to stop and has, 1 when it failed; clap itself exits with 2 for a
/// bad command line.
fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when standard error is closed.
            let _ = writeln!(io::stderr(), "mtls-server: {error}");
            ExitCode::FAILURE
        }
    }
}
