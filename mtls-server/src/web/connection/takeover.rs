//! Another protocol after HTTP on a connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::sync::lock;

/// Takes over a connection after HTTP (RFC 9110, section 7.8).
///
/// Each request that asks for an upgrade has one in its extensions, beside hyper's
/// [`OnUpgrade`](hyper::upgrade::OnUpgrade). A service that responds with 101 hands its tunnel over
/// with [`run`](Self::run): then the tunnel counts as a connection, and the limits of time and the
/// shutdown apply to it. A service that spawns a task for the upgraded connection, as axum does,
/// works too, without these limits.
#[derive(Clone, Default)]
pub struct Takeover(Arc<Mutex<Option<Tunnel>>>);

pub(in crate::web) type Tunnel = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Takeover {
    /// Runs `tunnel` when HTTP on this connection has ended. A second call replaces the first.
    pub fn run(&self, tunnel: impl Future<Output = ()> + Send + 'static) {
        *self.lock() = Some(Box::pin(tunnel));
    }

    pub(in crate::web) fn take(&self) -> Option<Tunnel> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tunnel>> {
        lock(&self.0)
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_taken = self.lock().is_some();
        f.debug_tuple("Takeover").field(&is_taken).finish()
    }
}
