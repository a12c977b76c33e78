//! The waiting slots of Opens that came before their handshake (`docs/protocol.md`, section 3.3).

use std::collections::HashMap;
use std::net::IpAddr;

use tokio::sync::oneshot;

use super::{Found, LookupReply, LookupRequester, RegistryKey};
use crate::slots::{Inserted, SlotId, SlotLimits, SlotTable, network_of};

/// Bounded in total, per peer, and per handshake and peer. Waits of requesters that have confirmed
/// nothing are evicted first.
#[derive(Debug)]
pub(super) struct Waits {
    slots: SlotTable<Waiter>,
    by_key: HashMap<RegistryKey, Vec<(SlotId, IpAddr)>>,
    per_key_and_peer: usize,
}

#[derive(Debug)]
struct Waiter {
    key: RegistryKey,
    reply: oneshot::Sender<LookupReply>,
}

impl Waits {
    pub(super) fn new(limits: SlotLimits, per_key_and_peer: usize) -> Self {
        Self {
            slots: SlotTable::new(limits),
            by_key: HashMap::new(),
            per_key_and_peer,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether an Open waits for this handshake.
    pub(super) fn waits_for(&self, key: &RegistryKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Inserts a wait. `None` if no slot is available.
    pub(super) fn insert(
        &mut self,
        key: RegistryKey,
        requester: LookupRequester,
    ) -> Option<(SlotId, oneshot::Receiver<LookupReply>)> {
        let peer = network_of(requester.peer);
        let same = self.by_key.get(&key).map_or(0, |waiters| {
            waiters.iter().filter(|(_, other)| *other == peer).count()
        });
        if same >= self.per_key_and_peer {
            return None;
        }
        let (reply, receiver) = oneshot::channel();
        let waiter = Waiter { key, reply };
        let Inserted { id, evicted } =
            self.slots
                .insert(peer, requester.confirmed_before, waiter)?;
        if let Some((place, waiter)) = evicted {
            self.unlist(&waiter.key, place);
            // One who has gone in the meantime needs no answer.
            let _ = waiter.reply.send(LookupReply::Busy);
        }
        self.by_key.entry(key).or_default().push((id, peer));
        Some((id, receiver))
    }

    /// Removes a wait.
    pub(super) fn remove(&mut self, id: SlotId) {
        if let Some(waiter) = self.slots.remove(id) {
            self.unlist(&waiter.key, id);
        }
    }

    /// Answers all waits for this handshake.
    pub(super) fn answer(&mut self, key: &RegistryKey, found: &Found) {
        for (id, _) in self.by_key.remove(key).unwrap_or_default() {
            if let Some(waiter) = self.slots.remove(id) {
                let _ = waiter.reply.send(LookupReply::Found(found.clone()));
            }
        }
    }

    fn unlist(&mut self, key: &RegistryKey, id: SlotId) {
        if let Some(waiters) = self.by_key.get_mut(key) {
            waiters.retain(|(other, _)| *other != id);
            if waiters.is_empty() {
                self.by_key.remove(key);
            }
        }
    }
}
