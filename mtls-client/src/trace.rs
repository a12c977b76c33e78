//! Where log messages go.

use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::options::UsageError;

/// Messages go to standard error: with `-vv` what this project does, or what `RUST_LOG` says,
/// such as `debug` or `mtls_core=trace,hyper=debug`.
pub(crate) fn start(verbose: u8) -> Result<(), UsageError> {
    let typed = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = match (typed.as_str(), verbose) {
        ("", 0 | 1) => return Ok(()),
        ("", _) => Targets::new()
            .with_target("mtls_core", LevelFilter::DEBUG)
            .with_target("mtls_client", LevelFilter::DEBUG),
        (typed, _) => typed
            .parse()
            .map_err(|error| UsageError::new("RUST_LOG", error))?,
    };
    let messages = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false);
    // A caller of the library may have decided already.
    let _ = tracing_subscriber::registry()
        .with(messages)
        .with(filter)
        .try_init();
    Ok(())
}
