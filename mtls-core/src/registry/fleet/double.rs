//! An engine in memory with faults, for tests of what builds on [`FleetRegistry`].
//!
//! [`FleetRegistry`]: super::FleetRegistry

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::ready;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::engine::{
    Beat, Engine, EngineError, EngineEvent, MAX_KEPT, MachineId, Membership, Operation, Put,
};
use crate::registry::RegistryKey;
use crate::sync::lock;

/// A store in memory, with faults on request. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

/// One machine's connection to a [`MemoryStore`].
#[derive(Clone, Debug)]
pub struct MemoryEngine {
    store: MemoryStore,
    machine: Arc<OnceLock<MachineId>>,
}

#[derive(Debug, Default)]
struct State {
    data: Data,
    inboxes: HashMap<MachineId, mpsc::Sender<EngineEvent>>,
    down: bool,
    full: bool,
    lossy: bool,
    cut: HashSet<MachineId>,
}

/// The state that a restart loses. Everything expires at an instant.
#[derive(Debug)]
struct Data {
    born: Instant,
    records: HashMap<RegistryKey, (Vec<u8>, Instant)>,
    waiting: HashMap<RegistryKey, HashMap<MachineId, Instant>>,
    kept: HashMap<RegistryKey, Vec<(Vec<u8>, Instant)>>,
    members: HashMap<MachineId, (Beat, Instant)>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            records: HashMap::new(),
            waiting: HashMap::new(),
            kept: HashMap::new(),
            members: HashMap::new(),
        }
    }
}

impl Data {
    fn waiting(&self, key: &RegistryKey) -> Vec<MachineId> {
        let now = Instant::now();
        let waiting = self.waiting.get(key).into_iter().flatten();
        let waiting = waiting.filter(|(_, end)| **end > now);
        waiting.map(|(machine, _)| *machine).collect()
    }
}

impl MemoryStore {
    /// A connection for one machine.
    pub fn engine(&self) -> MemoryEngine {
        MemoryEngine {
            store: self.clone(),
            machine: Arc::default(),
        }
    }

    /// Stops the store, with what it holds.
    pub fn stop(&self) {
        self.lock().down = true;
    }

    /// Starts the store again, with what it held.
    pub fn resume(&self) {
        let mut state = self.lock();
        state.down = false;
        state.announce(|_| true);
    }

    /// Starts the store again, empty.
    pub fn restart_empty(&self) {
        self.lock().data = Data::default();
        self.resume();
    }

    /// Cuts one machine off.
    pub fn cut(&self, machine: MachineId) {
        self.lock().cut.insert(machine);
    }

    /// Lets a machine that was cut off connect again.
    pub fn mend(&self, machine: MachineId) {
        let mut state = self.lock();
        state.cut.remove(&machine);
        state.announce(|other| other == machine);
    }

    /// Refuses what writes, as at the bound of an engine's memory.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Loses every message, as a store does for a machine that has just disconnected.
    pub fn set_lossy(&self, lossy: bool) {
        self.lock().lossy = lossy;
    }

    /// Forgets the records, and nothing else, as an eviction does.
    pub fn evict_records(&self) {
        self.lock().data.records.clear();
    }

    /// Replaces each record by bytes that no key of a fleet sealed.
    pub fn poison_records(&self) {
        for (record, _) in self.lock().data.records.values_mut() {
            record.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
    }

    /// Everything that the store holds, for tests that look for secrets.
    pub fn contents(&self) -> Vec<Vec<u8>> {
        let state = self.lock();
        let records = state
            .data
            .records
            .values()
            .map(|(record, _)| record.clone());
        let kept = state
            .data
            .kept
            .values()
            .flatten()
            .map(|(kept, _)| kept.clone());
        records.chain(kept).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn reaches(&self, machine: MachineId) -> bool {
        !self.down && !self.cut.contains(&machine)
    }

    fn announce(&self, which: impl Fn(MachineId) -> bool) {
        for (machine, inbox) in &self.inboxes {
            if which(*machine) && self.reaches(*machine) {
                let _ = inbox.try_send(EngineEvent::Connected);
            }
        }
    }
}

impl MemoryEngine {
    fn on<T: Send + 'static>(&self, operation: impl FnOnce(&mut Data) -> T) -> Operation<'_, T> {
        let result = self.with(|state| {
            if state.full {
                return Err(EngineError::new("out of memory"));
            }
            let now = Instant::now();
            state.data.records.retain(|_, (_, end)| *end > now);
            state.data.members.retain(|_, (_, end)| *end > now);
            Ok(operation(&mut state.data))
        });
        ready(result).boxed()
    }

    fn with<T>(
        &self,
        operation: impl FnOnce(&mut State) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let machine = self.machine.get().ok_or_else(EngineError::disconnected)?;
        let mut state = self.store.lock();
        match state.reaches(*machine) {
            true => operation(&mut state),
            false => Err(EngineError::disconnected()),
        }
    }
}

impl Engine for MemoryEngine {
    fn start(&self, machine: MachineId, events: mpsc::Sender<EngineEvent>) {
        // A machine that starts again uses a connection of its own.
        let _ = self.machine.set(machine);
        let mut state = self.store.lock();
        state.inboxes.insert(machine, events);
        state.announce(|other| other == machine);
    }

    fn connected(&self) -> bool {
        self.with(|_| Ok(())).is_ok()
    }

    fn put(&self, key: RegistryKey, record: Vec<u8>, life: Duration) -> Operation<'_, Put> {
        self.on(move |data| {
            let existing = data.records.get(&key).map(|(record, _)| record.clone());
            if existing.is_none() {
                data.records.insert(key, (record, Instant::now() + life));
            }
            Put {
                existing,
                waiting: data.waiting(&key),
            }
        })
    }

    fn replace(
        &self,
        key: RegistryKey,
        record: Vec<u8>,
        life: Duration,
    ) -> Operation<'_, Vec<MachineId>> {
        self.on(move |data| {
            data.records.insert(key, (record, Instant::now() + life));
            data.waiting(&key)
        })
    }

    fn ask(
        &self,
        key: RegistryKey,
        machine: MachineId,
        life: Duration,
    ) -> Operation<'_, Option<Vec<u8>>> {
        self.on(move |data| {
            let waiting = data.waiting.entry(key).or_default();
            waiting.insert(machine, Instant::now() + life);
            data.records.get(&key).map(|(record, _)| record.clone())
        })
    }

    fn publish(&self, to: Option<MachineId>, message: Vec<u8>) -> Operation<'_, ()> {
        let result = self.with(|state| {
            for (machine, inbox) in &state.inboxes {
                let addressed = to.is_none_or(|to| to == *machine);
                if addressed && state.reaches(*machine) && !state.lossy {
                    let _ = inbox.try_send(EngineEvent::Message(message.clone()));
                }
            }
            Ok(())
        });
        ready(result).boxed()
    }

    fn keep(&self, key: RegistryKey, message: Vec<u8>, life: Duration) -> Operation<'_, ()> {
        self.on(move |data| {
            let kept = data.kept.entry(key).or_default();
            kept.push((message, Instant::now() + life));
            kept.truncate(MAX_KEPT);
        })
    }

    fn kept(&self, key: RegistryKey) -> Operation<'_, Vec<Vec<u8>>> {
        self.on(move |data| {
            let kept = data.kept.get(&key).into_iter().flatten();
            kept.map(|(message, _)| message.clone()).collect()
        })
    }

    fn join(&self, machine: MachineId, beat: Beat, life: Duration) -> Operation<'_, Membership> {
        self.on(move |data| {
            let now = Instant::now();
            let previous = data.members.insert(machine, (beat, now + life));
            Membership {
                previous: previous.map(|(beat, _)| beat),
                members: data
                    .members
                    .iter()
                    .map(|(id, (beat, _))| (*id, *beat))
                    .collect(),
                memory: now - data.born,
            }
        })
    }

    fn leave(&self, machine: MachineId) -> Operation<'_, ()> {
        self.on(move |data| {
            data.members.remove(&machine);
        })
    }
}
