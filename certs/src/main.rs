//! The program `mtls-certs`: makes test certificates for multipath TLS.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use mtls_certs::Error;
use mtls_certs::cli::{self, Cli};

/// 0 when everything was written, 1 when not; clap itself exits with 2 for a bad command line.
fn main() -> ExitCode {
    match cli::run(Cli::parse(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe: it has read enough.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when standard error is closed as well.
            let _ = writeln!(io::stderr(), "mtls-certs: {error}");
            ExitCode::FAILURE
        }
    }
}
