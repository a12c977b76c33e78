//! The loop that runs a service until a signal ends it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::InheritedSockets;
use super::log::print_line;
use super::monitor::{Monitor, Stage};
use super::notify;
use super::server::Drained;
use super::status::StatusPage;
use crate::error::Error;

/// The environment of a long-running command's service: signals, the status page, and background tasks.
///
/// Begin it before anything else, so that an early signal is not lost; then bind the service,
/// announce it with [`print_line`], and [`run`](Self::run) it.
pub(crate) struct Program {
    signals: Signals,
    shutdown_timeout: Duration,
    /// Gets a message for SIGHUP.
    reload: Option<SyncSender<()>>,
    monitor: Arc<Monitor>,
    inherited: InheritedSockets,
    /// Ends with the program.
    background: JoinSet<()>,
}

impl Program {
    /// Sets up the signal handlers.
    pub(crate) fn begin(
        shutdown_timeout: Duration,
        inherited: InheritedSockets,
    ) -> Result<Self, Error> {
        Ok(Self {
            signals: Signals::new().map_err(Error::Runtime)?,
            shutdown_timeout,
            reload: None,
            monitor: Monitor::new(!inherited.is_empty()),
            inherited,
            background: JoinSet::new(),
        })
    }

    /// The monitor that the service reports events to.
    pub(crate) fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// Takes the sockets from the service manager.
    pub(crate) fn take_inherited(&mut self) -> InheritedSockets {
        std::mem::take(&mut self.inherited)
    }

    /// Opens the status page.
    pub(crate) fn open_status(&mut self, address: SocketAddr) -> Result<(), Error> {
        let page = StatusPage::bind(address, Arc::clone(&self.monitor))?;
        print_line(format_args!("status on http://{}/status", page.address()));
        self.background(page.run());
        Ok(())
    }

    /// Runs a task until the service ends.
    pub(crate) fn background(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.background.spawn(task);
    }

    /// Returns a channel that gets a message for SIGHUP; one for several while it is full. Call
    /// [`notify::ready`] after the reload.
    pub(crate) fn hangup(&mut self) -> Receiver<()> {
        let (sender, receiver) = sync_channel(1);
        self.reload = Some(sender);
        receiver
    }

    /// Awaits what the service needs before it starts, unless a signal ends the program.
    pub(crate) async fn until<T>(&mut self, start: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            value = start => Ok(value),
            name = self.until_end() => {
                notify::stopping();
                print_line(format_args!("{name}: stopped before it served"));
                Err(Error::StoppedEarly)
            }
        }
    }

    /// Runs a service to its end. `service` gets a future that is ready when the service is to stop
    /// accepting, and to drain.
    pub(crate) async fn run<F>(mut self, service: impl FnOnce(BoxFuture) -> F) -> Result<(), Error>
    where
        F: Future<Output = Drained>,
    {
        let monitor = Arc::clone(&self.monitor);
        monitor.enter(Stage::Ready);
        if let Some(wanted_every) = notify::watchdog() {
            self.background(notify::stay_alive(wanted_every));
        }
        notify::ready();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = service(Box::pin(async {
            // A dropped sender means the same.
            let _ = stopped.await;
        }));
        let until_second_signal = async {
            let name = self.until_end().await;
            monitor.enter(Stage::Draining);
            notify::stopping();
            print_line(format_args!(
                "{name}: open connections may finish within {:?}; a second signal ends at once",
                self.shutdown_timeout
            ));
            drop(stop);
            self.until_end().await;
        };
        tokio::select! {
            drained = running => {
                monitor.leave().await;
                if let Drained::CutOff(connections) = drained {
                    print_line(format_args!("the time is over: connections cut off: {connections}"));
                }
                Ok(())
            }
            () = until_second_signal => Err(Error::Interrupted),
        }
    }

    /// Handles signals until one of them ends the program, and returns its name.
    async fn until_end(&mut self) -> &'static str {
        loop {
            match self.signals.next().await {
                Action::End(name) => return name,
                Action::Reload => notify::reloading(),
            }
            match &self.reload {
                // A full channel: a reload is pending.
                Some(reload) => drop(reload.try_send(())),
                None => {
                    print_line(format_args!("SIGHUP: there is nothing to reload"));
                    notify::ready();
                }
            }
        }
    }
}

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// SIGTERM, SIGINT and SIGHUP.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// The effect of a signal.
enum Action {
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

    async fn next(&mut self) -> Action {
        tokio::select! {
            _ = self.terminate.recv() => Action::End("SIGTERM"),
            _ = self.interrupt.recv() => Action::End("SIGINT"),
            _ = self.hangup.recv() => Action::Reload,
        }
    }
}
