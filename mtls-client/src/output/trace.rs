//! Log messages.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::messages;

/// Writes log messages to `writer`: with `-vv` those of this project, or those that `RUST_LOG`
/// selects, such as `debug` or `mtls_core=trace,hyper=debug`.
pub(crate) fn start<W>(verbose: u8, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let Some(filter) = filter(verbose) else {
        return;
    };
    let messages = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    // Fails if a caller of the library has installed a subscriber already.
    let _ = tracing_subscriber::registry()
        .with(messages)
        .with(filter)
        .try_init();
}

fn filter(verbose: u8) -> Option<Targets> {
    let typed = std::env::var("RUST_LOG").unwrap_or_default();
    if !typed.is_empty() {
        match typed.parse() {
            Ok(filter) => return Some(filter),
            // It may be meant for another program.
            Err(error) => messages::warn(&format!("RUST_LOG ignored: {error}")),
        }
    }
    (verbose >= 2).then(|| {
        Targets::new()
            .with_target("mtls_core", LevelFilter::DEBUG)
            .with_target("mtls_client", LevelFilter::DEBUG)
    })
}
