//! The loop that runs a service until a signal ends it.

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Drained;
use crate::error::Error;

/// A service whose sockets are bound.
pub(crate) trait Service {
    /// Serves until `shutdown` is ready; then stops accepting, and gives what is open the time
    /// that it has to end.
    fn run(self, shutdown: impl Future<Output = ()>) -> impl Future<Output = Drained>;
}

/// What a long-running command does beside its service: it obeys signals.
///
/// Begin it before anything else, so that a signal that comes early is not lost; then bind the
/// service, announce it with [`say`], and [`run`](Self::run) it.
pub(crate) struct Program {
    signals: Signals,
    shutdown_timeout: Duration,
}

impl Program {
    /// Sets the signal handlers up.
    pub(crate) fn begin(shutdown_timeout: Duration) -> Result<Self, Error> {
        Ok(Self {
            signals: Signals::new().map_err(Error::Runtime)?,
            shutdown_timeout,
        })
    }

    /// Runs the service to its end.
    pub(crate) async fn run(mut self, service: impl Service) -> Result<(), Error> {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = service.run(async {
            // The sender going away means the same.
            let _ = stopped.await;
        });
        let until_second_signal = async {
            let name = self.signals.next().await;
            say(format_args!(
                "{name}: what is open may finish within {:?}; a second signal ends at once",
                self.shutdown_timeout
            ));
            drop(stop);
            self.signals.next().await;
        };
        tokio::select! {
            drained = running => {
                if let Drained::CutOff(connections) = drained {
                    say(format_args!("the time is over: connections cut off: {connections}"));
                }
                Ok(())
            }
            () = until_second_signal => Err(Error::Interrupted),
        }
    }
}

/// One line on standard error.
pub(crate) fn say(message: fmt::Arguments<'_>) {
    // Serving goes on when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "mtls-server: {message}");
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
