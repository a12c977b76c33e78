//! Handshakes that this machine registers.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until};

use super::engine::{Engine, EngineError, MachineId, Put};
use super::inbox;
use super::message::{Body, open_record};
use super::meter::Metered;
use super::shared::{Counts, Shared};
use crate::proto::server::HandshakeKeys;
use crate::registry::{Found, RegisterError, Registration, RegistryKey, SideStatus};
use crate::sync::lock;

/// The time that a registration waits for further engines after the first.
const FURTHER_ENGINES: Duration = Duration::from_millis(3);
/// The time that a connection waits for its Confirm before it reads the stored messages, in case a
/// message is lost; doubled each time.
const READ_KEPT: Duration = Duration::from_millis(500);

/// The primary connection's hold on its entry in this machine's table.
struct FleetRegistration<E> {
    shared: Arc<Shared<E>>,
    key: RegistryKey,
    found: Found,
    local: Box<dyn Registration>,
    waiting: Arc<Waiting>,
}

/// The other machines that wait for the flush.
#[derive(Debug, Default)]
struct Waiting(Mutex<WaitingState>);

#[derive(Debug, Default)]
struct WaitingState {
    flushed: bool,
    machines: Vec<MachineId>,
}

pub(super) async fn register<E: Engine>(
    shared: &Arc<Shared<E>>,
    key: RegistryKey,
    keys: HandshakeKeys,
) -> Result<Box<dyn Registration>, RegisterError> {
    if !shared.holds_lease() {
        return Err(RegisterError::Isolated);
    }
    let id = shared
        .new_registration()
        .ok_or(RegisterError::Unavailable)?;
    let found = Found::new(id, Arc::new(keys.clone()));
    // From here on a dropped future leaves a tombstone, by the drop of the local registration.
    let registration = FleetRegistration {
        local: shared.local.register_as(key, keys, id)?,
        shared: Arc::clone(shared),
        key,
        found,
        waiting: Arc::default(),
    };
    let record = shared
        .seal_record(&key, &registration.found)
        .ok_or(RegisterError::Unavailable)?;
    match registration.put(record).await {
        Ok(()) => Ok(Box::new(registration)),
        Err(error) => {
            shared.local.forget(&key, id);
            Err(error)
        }
    }
}

impl<E: Engine> FleetRegistration<E> {
    /// Records the handshake on the engines. Goes on when one has taken it, or without: then the
    /// other machines find it by asking.
    async fn put(&self, record: Vec<u8>) -> Result<(), RegisterError> {
        let mut puts: FuturesUnordered<_> = self
            .shared
            .reachable()
            .map(|at| {
                put_at(
                    Arc::clone(at),
                    self.key,
                    record.clone(),
                    self.shared.settings.record_life,
                )
            })
            .collect();
        let mut end = Instant::now() + self.shared.settings.register_wait;
        loop {
            tokio::select! {
                put = puts.next() => match put {
                    Some(Ok(put)) => {
                        self.handle_put(&put)?;
                        end = end.min(Instant::now() + FURTHER_ENGINES);
                    }
                    Some(Err(_)) => {}
                    None => return Ok(()),
                },
                () = sleep_until(end) => break,
            }
        }
        let late = LatePuts {
            shared: Arc::clone(&self.shared),
            key: self.key,
            found: self.found.clone(),
            waiting: Arc::clone(&self.waiting),
        };
        tokio::spawn(async move {
            while let Some(put) = puts.next().await {
                if let Ok(put) = put {
                    late.add_waiting(&put);
                }
            }
        });
        Ok(())
    }

    /// Finds confirmations whose message was lost. Ever more rarely, because most handshakes that
    /// are not confirmed soon never are.
    async fn read_kept(&self) -> Infallible {
        let mut pause = READ_KEPT;
        while pause <= self.shared.settings.note_life {
            sleep(pause).await;
            inbox::read_kept(&self.shared, self.key).await;
            pause *= 2;
        }
        pending().await
    }

    fn handle_put(&self, put: &Put) -> Result<(), RegisterError> {
        if let Some(existing) = &put.existing {
            match open_record(&self.shared.settings.keys, &self.key, existing) {
                Some(other) if other.registration != self.found.registration => {
                    return Err(RegisterError::Taken);
                }
                Some(_) => {}
                // The other machines find this one's entry by asking.
                None => Counts::add(&self.shared.counts.not_sealed),
            }
        }
        if !put.waiting.is_empty() {
            self.shared
                .local
                .mark_opened(&self.key, self.found.registration);
        }
        self.waiting.add(&put.waiting);
        Ok(())
    }
}

impl<E> fmt::Debug for FleetRegistration<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetRegistration")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

async fn put_at<E: Engine>(
    at: Arc<Metered<E>>,
    key: RegistryKey,
    record: Vec<u8>,
    life: Duration,
) -> Result<Put, EngineError> {
    at.run(at.engine.put(key, record, life)).await
}

/// Engines that answer after the registration has gone on.
struct LatePuts<E> {
    shared: Arc<Shared<E>>,
    key: RegistryKey,
    found: Found,
    waiting: Arc<Waiting>,
}

impl<E: Engine> LatePuts<E> {
    fn add_waiting(&self, put: &Put) {
        if !put.waiting.is_empty() {
            self.shared
                .local
                .mark_opened(&self.key, self.found.registration);
        }
        for machine in self.waiting.add(&put.waiting) {
            let body = Body::Flushed(self.key, self.found.clone());
            self.shared.notify(machine, body);
        }
    }
}

impl Waiting {
    /// Adds machines; returns those to notify at once, because the flush has happened.
    fn add(&self, machines: &[MachineId]) -> Vec<MachineId> {
        let mut state = lock(&self.0);
        if state.flushed {
            return machines.to_vec();
        }
        for machine in machines {
            if !state.machines.contains(machine) {
                state.machines.push(*machine);
            }
        }
        Vec::new()
    }

    fn flush(&self) -> Vec<MachineId> {
        let mut state = lock(&self.0);
        state.flushed = true;
        std::mem::take(&mut state.machines)
    }
}

impl<E: Engine> Registration for FleetRegistration<E> {
    fn flushed(&self) {
        self.local.flushed();
        for machine in self.waiting.flush() {
            let body = Body::Flushed(self.key, self.found.clone());
            self.shared.notify(machine, body);
        }
    }

    fn status(&self) -> SideStatus {
        self.local.status()
    }

    fn revision(&self) -> usize {
        self.local.revision()
    }

    fn confirmed(&self) -> BoxFuture<'_, ()> {
        async move {
            tokio::select! {
                () = self.local.confirmed() => {}
                never = self.read_kept() => match never {},
            }
        }
        .boxed()
    }
}
