//! The async runtime of the commands that connect and exit.

use std::io;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::trace;

/// Runs the work of a command to its end, on the current thread.
///
/// # Errors
/// If the runtime cannot start, or the work fails.
pub(crate) fn block_on(
    verbose: u8,
    work: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    trace::start(verbose, io::stderr);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| not_started(&error))?;
    let exit = runtime.block_on(work);
    // A cancelled name lookup may still occupy a thread.
    runtime.shutdown_background();
    exit
}

/// The runtime cannot start.
pub(crate) fn not_started(error: &io::Error) -> Failure {
    let message = format!("could not start the async runtime: {error}");
    Failure::new(Exit::Connect, "no-runtime", message)
}
