//! The loop that runs a service until a signal ends it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::log::say;
use super::monitor::{Monitor, Stage};
use super::status::StatusPage;
use super::{Drained, notify};
use crate::error::Error;

/// A service whose sockets are bound.
pub(crate) trait Service {
    /// Serves until `shutdown` is ready; then stops accepting, and gives what is open the time
    /// that it has to end.
    fn run(self, shutdown: impl Future<Output = ()>) -> impl Future<Output = Drained>;
}

/// What a long-running command does beside its service: it obeys signals, answers for the service's
/// status, and runs what is to run in the background.
///
/// Begin it before anything else, so that a signal that comes early is not lost; then bind the
/// service, announce it with [`say`], and [`run`](Self::run) it.
pub(crate) struct Program {
    signals: Signals,
    shutdown_timeout: Duration,
    /// What SIGHUP asks to read its files anew.
    reload: Option<SyncSender<()>>,
    monitor: Arc<Monitor>,
    /// Ends with the program.
    background: JoinSet<()>,
}

impl Program {
    /// Sets the signal handlers up.
    pub(crate) fn begin(shutdown_timeout: Duration) -> Result<Self, Error> {
        Ok(Self {
            signals: Signals::new().map_err(Error::Runtime)?,
            shutdown_timeout,
            reload: None,
            monitor: Monitor::new(),
            background: JoinSet::new(),
        })
    }

    /// What the service has to tell of what happens.
    pub(crate) fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// Opens the status page.
    pub(crate) fn open_status(&mut self, address: SocketAddr) -> Result<(), Error> {
        let page = StatusPage::bind(address, Arc::clone(&self.monitor))?;
        say(format_args!("status on http://{}/status", page.address()));
        self.background(page.run());
        Ok(())
    }

    /// Runs beside the service for as long as that runs.
    pub(crate) fn background(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.background.spawn(task);
    }

    /// Gets a message for SIGHUP, one for several that come while it is busy. Say
    /// [`notify::ready`] when the reload is done.
    pub(crate) fn hangup(&mut self) -> Receiver<()> {
        let (sender, receiver) = sync_channel(1);
        self.reload = Some(sender);
        receiver
    }

    /// Runs the service to its end.
    pub(crate) async fn run(mut self, service: impl Service) -> Result<(), Error> {
        let monitor = Arc::clone(&self.monitor);
        monitor.enter(Stage::Ready);
        if let Some(wanted_every) = notify::watchdog() {
            self.background(notify::stay_alive(wanted_every));
        }
        notify::ready();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = service.run(async {
            // The sender going away means the same.
            let _ = stopped.await;
        });
        let until_second_signal = async {
            let name = self.until_end().await;
            monitor.enter(Stage::Draining);
            notify::stopping();
            say(format_args!(
                "{name}: what is open may finish within {:?}; a second signal ends at once",
                self.shutdown_timeout
            ));
            drop(stop);
            self.until_end().await;
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

    /// Obeys signals until one of them says to end, and names that one.
    async fn until_end(&mut self) -> &'static str {
        loop {
            match self.signals.next().await {
                Told::End(name) => return name,
                Told::Reload => notify::reloading(),
            }
            match &self.reload {
                // A full channel: a reload is about to begin.
                Some(reload) => drop(reload.try_send(())),
                None => {
                    say(format_args!("SIGHUP: there is nothing to reload"));
                    notify::ready();
                }
            }
        }
    }
}

/// SIGTERM, SIGINT and SIGHUP.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal says.
enum Told {
    End(&'static str),
    Reload,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End("SIGTERM"),
            _ = self.interrupt.recv() => Told::End("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}
