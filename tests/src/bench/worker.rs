//! A thread with a current-thread runtime: a host of one core.

use std::future::Future;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::Result;
use crate::meter::Meter;

/// A thread that serves; it ends when this is dropped.
pub(super) struct Worker {
    meter: Meter,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Runs the future that `serve` returns until the worker is dropped.
    pub(super) fn start<F, T>(name: &str, serve: F) -> Result<Self>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Future<Output = Result>,
    {
        let runtime = runtime()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, meter) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ = started.send(Meter::here());
                runtime.block_on(async {
                    tokio::select! {
                        // Its errors show at the clients.
                        _ = serve() => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            meter: meter.recv()?,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The CPU time of the thread, where the kernel reports it.
    pub(super) fn meter(&self) -> Meter {
        self.meter
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it has shown at the clients.
            let _ = thread.join();
        }
    }
}

/// A runtime for one thread.
pub(super) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Runs a client's future in a task of a runtime of its own, as in a program with many
/// connections: a wake-up of the runtime's root takes a system call, even from its own thread.
pub(super) fn run_client<T: Send + 'static>(
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let runtime = runtime()?;
    runtime.block_on(runtime.spawn(future))?
}

/// A loopback port, to be served by a runtime that does not exist yet.
pub(super) fn bind() -> Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Microseconds.
pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
