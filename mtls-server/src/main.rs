//! The program `mtls-server`: HTTPS with multipath TLS (not mutual TLS).

use std::process::ExitCode;

use mtls_server::{Cli, run};

// That of glibc keeps the memory of a flood (docs/design.md).
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit status: 0 stopped by a signal and drained, 1 failed, 2 wrong command line or configuration.
fn main() -> ExitCode {
    let cli = match Cli::from_arguments(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return error.report(),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit_code(),
    }
}
