//! Word that it is time to stop.

use tokio::sync::watch;

/// Tells that the service has been told to stop. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

/// Tells all [`Stopping`]s. Its drop tells them too.
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
    /// Completes when it is time to stop; safe to drop and to call again.
    pub async fn wait(&mut self) {
        // A sender that is gone wants nothing more either.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
