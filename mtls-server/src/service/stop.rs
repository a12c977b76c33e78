//! The signal to stop.

use tokio::sync::watch;

/// Completes when the service is to stop. Clones share the signal.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

/// Completes all its [`Stopping`]s; so does its drop.
#[derive(Debug)]
pub(crate) struct Stop(watch::Sender<bool>);

impl Stop {
    pub(crate) fn new() -> (Self, Stopping) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stopping(receiver))
    }

    pub(crate) fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Completes when the service is to stop. Cancel safe.
    pub async fn wait(&mut self) {
        // A dropped sender means the same.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
