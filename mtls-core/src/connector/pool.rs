//! The side connections that a connector keeps open: one that is reused saves most of a
//! verification's cost.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::side::{SideConnection, SideLink};
use crate::path::{Dial, Endpoint};
use crate::proto::binding::Association;

/// Side connections by path and endpoint.
#[derive(Debug)]
pub(crate) struct Pool {
    settings: PoolSettings,
    connections: Mutex<HashMap<(usize, Endpoint), Vec<SideConnection>>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSettings {
    /// How long a side connection stays open without a verification; zero: one is not reused.
    pub(crate) idle: Duration,
    /// How many verifications share one at a time.
    pub(crate) users: usize,
    /// How many are kept.
    pub(crate) connections: usize,
}

impl Pool {
    pub(crate) fn new(settings: PoolSettings) -> Self {
        Self {
            settings,
            connections: Mutex::new(HashMap::new()),
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
        if self.settings.idle.is_zero() {
            return self.fresh(path, endpoint, association);
        }
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (index, endpoint.clone());
        if let Some(same) = connections.get_mut(&key) {
            same.retain(SideConnection::is_open);
            let link = same
                .iter()
                .filter(|connection| connection.users() < self.settings.users)
                .find_map(|connection| connection.attach(association));
            if link.is_some() {
                return link;
            }
        }
        let connection = SideConnection::dial(path.dial(endpoint), self.settings.idle);
        let link = connection.attach(association);
        connections.retain(|_, same| {
            same.retain(SideConnection::is_open);
            !same.is_empty()
        });
        if connections.values().map(Vec::len).sum::<usize>() < self.settings.connections {
            connections.entry(key).or_default().push(connection);
        }
        link
    }

    /// A link on a connection of its own, for a verification whose first one died.
    pub(crate) fn fresh<D: Dial>(
        &self,
        path: &D,
        endpoint: &Endpoint,
        association: Association,
    ) -> Option<SideLink> {
        SideConnection::dial(path.dial(endpoint), self.settings.idle).attach(association)
    }
}
