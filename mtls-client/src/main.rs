//! The program `mtls-client`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mtls_client::run(std::env::args_os())
}
