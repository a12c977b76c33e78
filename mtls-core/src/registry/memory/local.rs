//! The table of one machine, for a fleet's registry.

use std::time::Duration;

use tokio::time::Instant;

use super::{MemoryRegistry, lock};
use crate::proto::server::{HandshakeKeys, RegistrationId};
use crate::registry::{ConfirmedSide, Found, RegisterError, Registration, RegistryKey};

/// The state of a handshake in one machine's table.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Held {
    Found(Found),
    Nothing,
    /// Nothing, and the table may have turned the handshake away.
    Full,
}

/// A handshake that was registered a short time ago.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Recent {
    pub(in crate::registry) key: RegistryKey,
    pub(in crate::registry) found: Found,
    pub(in crate::registry) flushed: bool,
    pub(in crate::registry) confirmed: bool,
}

impl MemoryRegistry {
    /// Registers a handshake under an id that is unique beyond this table.
    pub(in crate::registry) fn register_as(
        &self,
        key: RegistryKey,
        keys: HandshakeKeys,
        id: RegistrationId,
    ) -> Result<Box<dyn Registration>, RegisterError> {
        self.insert(key, keys, Some(id))
    }

    /// Forgets a registration at once, without a tombstone.
    pub(in crate::registry) fn forget(&self, key: &RegistryKey, id: RegistrationId) {
        self.shared.lock().remove(key, id);
    }

    /// Looks a handshake up for another machine.
    pub(in crate::registry) fn held(&self, key: &RegistryKey) -> Held {
        let mut state = self.shared.lock();
        state.sweep(Instant::now());
        match state.entries.get(key) {
            Some(entry) => {
                entry.primary.change_status(|status| status.opened = true);
                Held::Found(entry.found.clone())
            }
            None if state.may_have_refused(&self.shared.limits) => Held::Full,
            None => Held::Nothing,
        }
    }

    /// Answers the look-ups that wait for a handshake of another machine.
    pub(in crate::registry) fn deliver(&self, key: &RegistryKey, found: &Found) {
        self.shared.lock().waits.answer(key, found);
    }

    /// A side connection of another machine has asked for this registration.
    pub(in crate::registry) fn mark_opened(&self, key: &RegistryKey, id: RegistrationId) {
        if let Some(entry) = self.shared.lock().registered(key, id) {
            entry.primary.change_status(|status| status.opened = true);
        }
    }

    /// Has this very confirmation been recorded? Messages may come more than once.
    pub(in crate::registry) fn has_confirmation(
        &self,
        key: &RegistryKey,
        side: &ConfirmedSide,
    ) -> bool {
        let state = self.shared.lock();
        state
            .entries
            .get(key)
            .is_some_and(|entry| lock(&entry.primary.status).confirmations.contains(side))
    }

    /// The handshakes that were registered within this time.
    pub(in crate::registry) fn recent(&self, within: Duration) -> Vec<Recent> {
        let now = Instant::now();
        let state = self.shared.lock();
        state
            .entries
            .iter()
            .filter(|(_, entry)| now.saturating_duration_since(entry.registered) < within)
            .map(|(key, entry)| Recent {
                key: *key,
                found: entry.found.clone(),
                flushed: entry.flushed,
                confirmed: !lock(&entry.primary.status).confirmations.is_empty(),
            })
            .collect()
    }
}
