//! The log on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts the log; `RUST_LOG` goes before `verbose`.
pub(crate) fn start_log(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "warn,mtls_core=debug,mtls_server=debug",
        _ => "debug,mtls_core=trace,mtls_server=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // A program that embeds this one may have a log already: then that one is used.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // They would go to standard error as well, and panic when it is closed.
        .log_internal_errors(false)
        .try_init();
}
