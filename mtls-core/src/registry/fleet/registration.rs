//! Handshakes that this machine reserves and registers.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::engine::{Engine, EngineError, MachineId, Put};
use super::inbox;
use super::message::{Body, open_record};
use super::meter::Metered;
use super::shared::{Counts, Shared};
use crate::proto::server::{HandshakeKeys, RegistrationId};
use crate::registry::{Found, RegisterError, Registration, RegistryKey, Reservation, SideStatus};
use crate::sync::lock;

/// The time that a registration waits for further engines after the first.
const FURTHER_ENGINES: Duration = Duration::from_millis(3);
/// The time that a connection waits for its Confirm before it reads the stored messages, in case a
/// message is lost; doubled each time.
const READ_KEPT: Duration = Duration::from_millis(500);

/// A handshake whose keys do not exist yet. Its record is on the way to the engines.
struct FleetReservation<E> {
    shared: Arc<Shared<E>>,
    key: RegistryKey,
    id: RegistrationId,
    puts: Puts<E>,
}

/// The primary connection's hold on its entry in this machine's table.
struct FleetRegistration<E> {
    entry: Entry<E>,
    local: Box<dyn Registration>,
}

/// A registered handshake, and the machines that wait for it.
struct Entry<E> {
    shared: Arc<Shared<E>>,
    key: RegistryKey,
    found: Found,
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

/// Takes the association on the engines. No machine finds it before it has its keys.
pub(super) fn reserve<E: Engine>(
    shared: &Arc<Shared<E>>,
    key: RegistryKey,
) -> Option<Box<dyn Reservation>> {
    if !shared.holds_lease() {
        return None;
    }
    let id = shared.new_registration()?;
    let record = shared.seal_reservation(&key, id)?;
    Some(Box::new(FleetReservation {
        puts: put_everywhere(shared, key, &record),
        shared: Arc::clone(shared),
        key,
        id,
    }))
}

pub(super) async fn register<E: Engine>(
    shared: Arc<Shared<E>>,
    key: RegistryKey,
    keys: HandshakeKeys,
) -> Result<Box<dyn Registration>, RegisterError> {
    let id = shared
        .new_registration()
        .ok_or(RegisterError::Unavailable)?;
    let (registration, record) = FleetRegistration::new(shared, key, id, keys)?;
    let puts = put_everywhere(&registration.entry.shared, key, &record);
    registration.complete(puts, None).await
}

impl<E: Engine> Reservation for FleetReservation<E> {
    fn register(
        self: Box<Self>,
        keys: HandshakeKeys,
    ) -> BoxFuture<'static, Result<Box<dyn Registration>, RegisterError>> {
        async move {
            let (registration, record) =
                FleetRegistration::new(self.shared, self.key, self.id, keys)?;
            registration.complete(self.puts, Some(record)).await
        }
        .boxed()
    }
}

impl<E: Engine> FleetRegistration<E> {
    /// Registers a handshake in this machine's table; also returns the record for the engines.
    fn new(
        shared: Arc<Shared<E>>,
        key: RegistryKey,
        id: RegistrationId,
        keys: HandshakeKeys,
    ) -> Result<(Self, Vec<u8>), RegisterError> {
        if !shared.holds_lease() {
            return Err(RegisterError::Isolated);
        }
        let found = Found::new(id, Arc::new(keys.clone()));
        let record = shared
            .seal_record(&key, &found)
            .ok_or(RegisterError::Unavailable)?;
        // From here on a dropped future leaves a tombstone, by the drop of the local registration.
        let local = shared.local.register_as(key, keys, id)?;
        let entry = Entry {
            shared,
            key,
            found,
            waiting: Arc::default(),
        };
        Ok((Self { entry, local }, record))
    }

    /// Goes on when one engine has taken the handshake, or without: then the other machines find it
    /// by asking. `record` takes the place of a reservation.
    async fn complete(
        self,
        mut puts: Puts<E>,
        record: Option<Vec<u8>>,
    ) -> Result<Box<dyn Registration>, RegisterError> {
        let entry = &self.entry;
        let mut end = Instant::now() + entry.shared.settings.register_wait;
        loop {
            tokio::select! {
                put = puts.join_next() => match put {
                    Some(Ok(Ok((at, put)))) => {
                        let taken = entry.handle_put(at, &put, record.clone());
                        taken.inspect_err(|_| entry.forget())?;
                        end = end.min(Instant::now() + FURTHER_ENGINES);
                    }
                    Some(_) => {}
                    None => return Ok(Box::new(self)),
                },
                () = sleep_until(end) => break,
            }
        }
        let late = entry.clone();
        tokio::spawn(async move {
            while let Some(put) = puts.join_next().await {
                if let Ok(Ok((at, put))) = put {
                    let _ = late.handle_put(at, &put, record.clone());
                }
            }
        });
        Ok(Box::new(self))
    }

    /// Finds confirmations whose message was lost. Ever more rarely, because most handshakes that
    /// are not confirmed soon never are.
    async fn read_kept(&self) -> Infallible {
        let Entry { shared, key, .. } = &self.entry;
        let mut pause = READ_KEPT;
        while pause <= shared.settings.note_life {
            sleep(pause).await;
            inbox::read_kept(shared, *key).await;
            pause *= 2;
        }
        pending().await
    }
}

/// The first write of a handshake to each engine within reach. Dropping it ends the tasks.
type Puts<E> = JoinSet<Result<(Arc<Metered<E>>, Put), EngineError>>;

fn put_everywhere<E: Engine>(shared: &Shared<E>, key: RegistryKey, record: &[u8]) -> Puts<E> {
    let life = shared.settings.record_life;
    let put_at = |at: &Arc<Metered<E>>| {
        let (at, record) = (Arc::clone(at), record.to_vec());
        async move {
            let put = at.run(at.engine.put(key, record, life)).await?;
            Ok((at, put))
        }
    };
    shared.reachable().map(put_at).collect()
}

impl<E: Engine> Entry<E> {
    /// An engine has answered the first write; `record` takes the place of a reservation.
    fn handle_put(
        &self,
        at: Arc<Metered<E>>,
        put: &Put,
        record: Option<Vec<u8>>,
    ) -> Result<(), RegisterError> {
        if let Some(existing) = &put.existing {
            match open_record(&self.shared.settings.keys, &self.key, existing) {
                Some(other) if other.registration() != self.found.registration => {
                    return Err(RegisterError::Taken);
                }
                Some(_) => {}
                // The other machines find this one's entry by asking.
                None => Counts::add(&self.shared.counts.not_sealed),
            }
        }
        self.add_waiting(&put.waiting);
        if let Some(record) = record {
            tokio::spawn(self.clone().replace(at, record));
        }
        Ok(())
    }

    async fn replace(self, at: Arc<Metered<E>>, record: Vec<u8>) {
        let life = self.shared.settings.record_life;
        let replaced = at.run(at.engine.replace(self.key, record, life)).await;
        self.add_waiting(&replaced.unwrap_or_default());
    }

    fn add_waiting(&self, machines: &[MachineId]) {
        if !machines.is_empty() {
            let local = &self.shared.local;
            local.mark_opened(&self.key, self.found.registration);
        }
        self.notify_flushed(self.waiting.add(machines));
    }

    fn notify_flushed(&self, machines: Vec<MachineId>) {
        for machine in machines {
            let body = Body::Flushed(self.key, self.found.clone());
            self.shared.notify(machine, body);
        }
    }

    fn forget(&self) {
        self.shared.local.forget(&self.key, self.found.registration);
    }
}

impl<E> Clone for Entry<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            key: self.key,
            found: self.found.clone(),
            waiting: Arc::clone(&self.waiting),
        }
    }
}

impl<E> fmt::Debug for FleetReservation<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetReservation")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for FleetRegistration<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetRegistration")
            .field("key", &self.entry.key)
            .finish_non_exhaustive()
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
        self.entry.notify_flushed(self.entry.waiting.flush());
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
