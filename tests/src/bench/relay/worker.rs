//! A thread with a current-thread runtime: one machine of one core.

use std::future::Future;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::thread::{Pid, gettid};
use tokio::sync::oneshot;

use super::Error;

/// A thread that serves; it ends when this is dropped.
pub(super) struct Worker {
    id: Pid,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Runs what `serve` returns, in a runtime of its own, until the worker is dropped.
    pub(super) fn start<F, T>(name: &str, serve: F) -> Result<Self, Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Future<Output = Result<(), Error>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ = tell.send(gettid());
                runtime.block_on(async {
                    tokio::select! {
                        // What it says shows itself at the clients.
                        _ = serve() => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            id: told.recv()?,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The thread's number in `/proc/self/task`.
    pub(super) fn id(&self) -> Pid {
        self.id
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it has shown itself at the clients.
            let _ = thread.join();
        }
    }
}

/// A port of the loopback, to be served by a runtime that is not there yet.
pub(super) fn bind() -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
