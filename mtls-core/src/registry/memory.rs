//! The registry of a single process.

#[cfg(feature = "fleet")]
pub(super) mod local;

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::waits::Waits;
use super::{
    ConfirmedSide, DEFAULT_TOMBSTONE, Found, LookupReply, LookupRequester, MAX_CONFIRMATIONS,
    PendingRegistry, RegisterError, Registration, RegistryKey, ServiceId, SideStatus,
};
use crate::proto::server::{Confirmation, HandshakeKeys, LookupMode, RegistrationId};
use crate::slots::{SlotId, SlotLimits};
use crate::sync::lock;

/// Keeps pending handshakes in memory: the default.
///
/// Clones share their entries.
#[derive(Clone, Debug)]
pub struct MemoryRegistry {
    shared: Arc<Shared>,
}

/// Limits of a [`MemoryRegistry`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MemoryRegistryLimits {
    /// Handshakes, tombstones included. Default: 1,048,576.
    pub handshakes: usize,
    /// The lifetime of a tombstone (`docs/protocol.md`, section 3.4). Default: 10 s.
    pub tombstone: Duration,
    /// Opens that wait for their handshake, in all; the oldest of a side connection that has
    /// confirmed nothing makes room for a new one. Default: 16,384.
    pub waits: usize,
    /// Opens of one peer that wait: one IPv4 address, or one IPv6 /64. Default: 1,024.
    pub waits_per_peer: usize,
    /// Opens of one peer that wait for one handshake. Default: 4.
    pub waits_per_handshake_and_peer: usize,
}

impl Default for MemoryRegistryLimits {
    fn default() -> Self {
        Self {
            handshakes: 1 << 20,
            tombstone: DEFAULT_TOMBSTONE,
            waits: 16_384,
            waits_per_peer: 1_024,
            waits_per_handshake_and_peer: 4,
        }
    }
}

#[derive(Debug)]
struct Shared {
    limits: MemoryRegistryLimits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: HashMap<RegistryKey, Entry>,
    /// Tombstones in the order of their end, which is that of their making.
    tombstones: VecDeque<(Instant, RegistryKey, RegistrationId)>,
    /// The last time that the table was full for a handshake.
    refused: Option<Instant>,
    waits: Waits,
    next_registration: u128,
    sweeping: bool,
}

#[derive(Debug)]
struct Entry {
    found: Found,
    #[cfg_attr(
        not(feature = "fleet"),
        expect(dead_code, reason = "for the machines of a fleet")
    )]
    registered: Instant,
    flushed: bool,
    is_tombstone: bool,
    primary: Arc<Primary>,
}

/// The primary connection's view, which outlives the entry, without any key.
#[derive(Debug, Default)]
struct Primary {
    status: Mutex<SideStatus>,
    /// That of the status.
    revision: AtomicUsize,
    confirmed: Notify,
}

impl Primary {
    fn change_status(&self, change: impl FnOnce(&mut SideStatus)) {
        let mut status = lock(&self.status);
        change(&mut status);
        self.revision.store(status.revision(), Ordering::Release);
    }
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new(MemoryRegistryLimits::default())
    }
}

impl MemoryRegistry {
    /// An empty registry with these bounds.
    pub fn new(limits: MemoryRegistryLimits) -> Self {
        let slots = SlotLimits {
            total: limits.waits,
            per_peer: limits.waits_per_peer,
        };
        let waits = Waits::new(slots, limits.waits_per_handshake_and_peer);
        let state = State {
            entries: HashMap::new(),
            tombstones: VecDeque::new(),
            refused: None,
            waits,
            next_registration: 0,
            sweeping: false,
        };
        Self {
            shared: Arc::new(Shared {
                limits,
                state: Mutex::new(state),
            }),
        }
    }

    /// The number of handshakes, tombstones included.
    pub fn handshakes(&self) -> usize {
        let mut state = self.shared.lock();
        state.sweep(Instant::now());
        state.entries.len()
    }

    /// The number of Opens that wait for their handshake.
    pub fn waits(&self) -> usize {
        self.shared.lock().waits.len()
    }

    /// Registers a handshake, under an id of this table unless there is one.
    fn insert(
        &self,
        key: RegistryKey,
        keys: HandshakeKeys,
        id: Option<RegistrationId>,
    ) -> Result<Box<dyn Registration>, RegisterError> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.sweep(now);
        let limit = self.shared.limits.handshakes;
        if state.entries.len() >= limit {
            state.refused = Some(now);
            return Err(RegisterError::Full { limit });
        }
        let opened = state.waits.waits_for(&key);
        let registration = id.unwrap_or(RegistrationId(state.next_registration));
        state.next_registration += 1;
        let MapEntry::Vacant(vacant) = state.entries.entry(key) else {
            return Err(RegisterError::Taken);
        };
        let primary = Arc::new(Primary::default());
        primary.change_status(|status| status.opened = opened);
        vacant.insert(Entry {
            found: Found {
                registration,
                keys: Arc::new(keys),
            },
            registered: now,
            flushed: false,
            is_tombstone: false,
            primary: Arc::clone(&primary),
        });
        Ok(Box::new(MemoryRegistration {
            shared: Arc::clone(&self.shared),
            key,
            id: registration,
            primary,
        }))
    }

    fn look_up_now(
        &self,
        key: RegistryKey,
        mode: LookupMode,
        requester: LookupRequester,
    ) -> LookupState {
        let mut state = self.shared.lock();
        state.sweep(Instant::now());
        if let Some(entry) = state.entries.get(&key) {
            entry.primary.change_status(|status| status.opened = true);
            if entry.flushed || mode == LookupMode::Immediate {
                return LookupState::Reply(LookupReply::Found(entry.found.clone()));
            }
        }
        if mode == LookupMode::Immediate {
            // A registry that is or was full may have turned this very handshake away: "unknown"
            // would be taken for an interception, and a flood of handshakes would raise false
            // alarms.
            return LookupState::Reply(match state.may_have_refused(&self.shared.limits) {
                true => LookupReply::Busy,
                false => LookupReply::Unknown,
            });
        }
        match state.waits.insert(key, requester) {
            Some((id, receiver)) => LookupState::Wait(WaitSlot {
                shared: Arc::clone(&self.shared),
                id,
                receiver,
            }),
            None => LookupState::Reply(LookupReply::Busy),
        }
    }
}

impl PendingRegistry for MemoryRegistry {
    fn register(
        &self,
        key: RegistryKey,
        keys: HandshakeKeys,
    ) -> BoxFuture<'_, Result<Box<dyn Registration>, RegisterError>> {
        ready(self.insert(key, keys, None)).boxed()
    }

    fn look_up(
        &self,
        key: RegistryKey,
        mode: LookupMode,
        requester: LookupRequester,
    ) -> BoxFuture<'static, LookupReply> {
        match self.look_up_now(key, mode, requester) {
            LookupState::Reply(reply) => ready(reply).boxed(),
            LookupState::Wait(slot) => slot.boxed(),
        }
    }

    fn confirm(&self, service: ServiceId, confirmed: ConfirmedSide) {
        self.shared
            .apply(service, confirmed.confirmation, |primary| {
                primary.change_status(|status| {
                    if status.confirmations.len() < MAX_CONFIRMATIONS {
                        status.confirmations.push(confirmed);
                    }
                });
                primary.confirmed.notify_waiters();
                // Verified: the keys are kept only for slower side paths.
                AfterUpdate::MakeTombstone
            });
    }

    fn dispute(&self, service: ServiceId, dispute: Confirmation) {
        self.shared.apply(service, dispute, |primary| {
            primary.change_status(|status| status.disputed = true);
            AfterUpdate::Keep
        });
    }
}

enum AfterUpdate {
    MakeTombstone,
    Keep,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Updates the primary connection of the registration that `confirmation` names; a later handshake
    /// with the same association is unaffected.
    fn apply(
        self: &Arc<Self>,
        service: ServiceId,
        confirmation: Confirmation,
        update: impl FnOnce(&Primary) -> AfterUpdate,
    ) {
        let key = RegistryKey {
            service,
            association: confirmation.association,
        };
        let mut state = self.lock();
        let Some(entry) = state.entries.get(&key) else {
            return;
        };
        if entry.found.registration != confirmation.registration {
            return;
        }
        if matches!(update(&entry.primary), AfterUpdate::MakeTombstone) {
            self.make_tombstone(&mut state, key, confirmation.registration);
        }
    }

    /// Makes an entry a tombstone, once, and sees to it that it is swept away without further
    /// calls: it holds a secret.
    fn make_tombstone(self: &Arc<Self>, state: &mut State, key: RegistryKey, id: RegistrationId) {
        let Some(entry) = state.registered(&key, id) else {
            return;
        };
        if std::mem::replace(&mut entry.is_tombstone, true) {
            return;
        }
        let end = Instant::now() + self.limits.tombstone;
        state.tombstones.push_back((end, key, id));
        if !state.sweeping
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            state.sweeping = true;
            runtime.spawn(sweep_until_empty(Arc::downgrade(self), end));
        }
    }
}

impl State {
    fn sweep(&mut self, now: Instant) {
        while let Some(&(end, key, id)) = self.tombstones.front() {
            if end > now {
                break;
            }
            self.tombstones.pop_front();
            self.remove(&key, id);
        }
    }

    /// The entry of this registration: a later one of the same key is another.
    fn registered(&mut self, key: &RegistryKey, id: RegistrationId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(key);
        entry.filter(|entry| entry.found.registration == id)
    }

    fn remove(&mut self, key: &RegistryKey, id: RegistrationId) {
        if self.registered(key, id).is_some() {
            self.entries.remove(key);
        }
    }

    /// May the table have turned away a handshake that a client asks for now? The time of a
    /// tombstone is longer than a client waits.
    fn may_have_refused(&self, limits: &MemoryRegistryLimits) -> bool {
        let lately = |at: Instant| at.elapsed() < limits.tombstone;
        self.entries.len() >= limits.handshakes || self.refused.is_some_and(lately)
    }
}

async fn sweep_until_empty(shared: Weak<Shared>, first: Instant) {
    let mut next = first;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut state = shared.lock();
        state.sweep(Instant::now());
        match state.tombstones.front() {
            Some(&(end, ..)) => next = end,
            None => {
                state.sweeping = false;
                return;
            }
        }
    }
}

enum LookupState {
    Reply(LookupReply),
    Wait(WaitSlot),
}

/// The slot of a waiting Open; released on drop.
struct WaitSlot {
    shared: Arc<Shared>,
    id: SlotId,
    receiver: oneshot::Receiver<LookupReply>,
}

impl Future for WaitSlot {
    type Output = LookupReply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LookupReply> {
        self.receiver
            .poll_unpin(cx)
            .map(|reply| reply.unwrap_or(LookupReply::Unavailable))
    }
}

impl Drop for WaitSlot {
    fn drop(&mut self) {
        self.shared.lock().waits.remove(self.id);
    }
}

#[derive(Debug)]
struct MemoryRegistration {
    shared: Arc<Shared>,
    key: RegistryKey,
    id: RegistrationId,
    primary: Arc<Primary>,
}

impl Registration for MemoryRegistration {
    fn flushed(&self) {
        let mut state = self.shared.lock();
        if let Some(entry) = state.registered(&self.key, self.id) {
            entry.flushed = true;
            let found = entry.found.clone();
            state.waits.answer(&self.key, &found);
        }
    }

    fn status(&self) -> SideStatus {
        lock(&self.primary.status).clone()
    }

    fn revision(&self) -> usize {
        self.primary.revision.load(Ordering::Acquire)
    }

    fn confirmed(&self) -> BoxFuture<'_, ()> {
        async move {
            loop {
                let notified = self.primary.confirmed.notified();
                if !lock(&self.primary.status).confirmations.is_empty() {
                    return;
                }
                notified.await;
            }
        }
        .boxed()
    }
}

impl Drop for MemoryRegistration {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        // A server that never flushed has nothing to prove; a tombstone answers for the rest.
        shared.make_tombstone(&mut state, self.key, self.id);
    }
}
