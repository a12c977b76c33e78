//! The signal to stop.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// The time for the ClientHello of a connection that was accepted before the service stopped.
pub(crate) const SILENT_GRACE: Duration = Duration::from_secs(1);

/// The time for a verification when the service stops: the default deadline of clients and servers.
/// It is given to new connections that have sent no request yet, and at the end to side connections,
/// which may verify handshakes of other machines.
pub(crate) const VERIFICATION_GRACE: Duration = Duration::from_secs(3);

/// The interval of checks whether a service that stops has come to rest.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Completes when `condition` holds, within 20 ms. For the end of a service: nothing wakes this.
pub(crate) async fn poll_until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(POLL).await;
    }
}

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
