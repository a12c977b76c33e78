//! The side connections that a connector keeps open: one that is reused saves most of a
//! verification's cost.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::connection::{SideConnection, SideLink};
use crate::path::{Dial, Endpoint};
use crate::proto::binding::Association;
use crate::sync::lock;

/// Side connections by path and endpoint.
#[derive(Debug)]
pub(crate) struct Pool {
    settings: PoolSettings,
    kept: Mutex<Kept>,
}

/// The connections of each side path and endpoint.
type Kept = HashMap<(usize, Endpoint), Vec<SideConnection>>;

/// Limits of a [`Pool`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSettings {
    /// The time that a side connection stays open without a verification; zero: none is reused.
    pub(crate) idle: Duration,
    /// The most verifications that share one at a time.
    pub(crate) users: usize,
    /// The most side connections that are kept.
    pub(crate) connections: usize,
}

impl Pool {
    pub(crate) fn new(settings: PoolSettings) -> Self {
        Self {
            settings,
            kept: Mutex::new(HashMap::new()),
        }
    }

    /// A link over the side path `index`: on a connection that is there, or on a new one.
    pub(crate) fn link<D: Dial>(
        &self,
        index: usize,
        path: &D,
        endpoint: &Endpoint,
        association: Association,
    ) -> Option<SideLink> {
        let mut kept = self.lock();
        let reused = kept.get_mut(&(index, endpoint.clone())).and_then(|same| {
            same.retain(SideConnection::is_open);
            same.iter()
                .filter(|connection| connection.users() < self.settings.users)
                .find_map(|connection| connection.attach(association))
        });
        // Under the lock still, so that those who come at the same time share what is dialled.
        reused.or_else(|| self.dial(&mut kept, index, path, endpoint, association))
    }

    /// A link on a new connection, for a verification whose first one died.
    pub(crate) fn fresh<D: Dial>(
        &self,
        index: usize,
        path: &D,
        endpoint: &Endpoint,
        association: Association,
    ) -> Option<SideLink> {
        self.dial(&mut self.lock(), index, path, endpoint, association)
    }

    /// Opens a connection for later verifications, unless there is one, or none is kept.
    #[cfg(feature = "quic")]
    pub(crate) fn open<D: Dial>(&self, index: usize, path: &D, endpoint: &Endpoint) {
        let mut kept = self.lock();
        let same = kept.get(&(index, endpoint.clone()));
        let is_there = same.is_some_and(|same| same.iter().any(SideConnection::is_open));
        if !is_there && !self.settings.idle.is_zero() {
            let connection = SideConnection::dial(path.dial(endpoint), self.settings.idle);
            self.keep(&mut kept, index, endpoint, connection);
        }
    }

    fn dial<D: Dial>(
        &self,
        kept: &mut Kept,
        index: usize,
        path: &D,
        endpoint: &Endpoint,
        association: Association,
    ) -> Option<SideLink> {
        let connection = SideConnection::dial(path.dial(endpoint), self.settings.idle);
        let link = connection.attach(association);
        self.keep(kept, index, endpoint, connection);
        link
    }

    fn keep(&self, kept: &mut Kept, index: usize, endpoint: &Endpoint, connection: SideConnection) {
        if !self.settings.idle.is_zero() {
            kept.retain(|_, same| {
                same.retain(SideConnection::is_open);
                !same.is_empty()
            });
            if kept.values().map(Vec::len).sum::<usize>() < self.settings.connections {
                let key = (index, endpoint.clone());
                kept.entry(key).or_default().push(connection);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }
}
