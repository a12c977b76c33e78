//! The state that the tasks of one machine share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use chacha20poly1305::aead::Generate;
use futures_util::future::join_all;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::FleetStatus;
use super::engine::{Beat, Engine, EngineError, MachineId, Membership};
use super::members::Members;
use super::message::{
    Body, Message, QuestionId, Record, open_record, seal_record, seal_reservation,
};
use super::meter::Metered;
use super::polls::Polls;
use super::settings::{FleetError, FleetSettings};
use crate::proto::server::RegistrationId;
use crate::registry::{Found, MemoryRegistry, RegistryKey};
use crate::sync::lock;

pub(super) struct Shared<E> {
    pub(super) settings: FleetSettings,
    pub(super) engines: Vec<Arc<Metered<E>>>,
    pub(super) local: MemoryRegistry,
    pub(super) polls: Mutex<Polls>,
    /// Changes when an engine has connected: what failed may succeed now.
    pub(super) connected: watch::Sender<()>,
    pub(super) polling: Semaphore,
    pub(super) counts: Counts,
    members: Mutex<Members>,
    incarnation: u64,
    notes: Arc<Semaphore>,
    /// Whether messages were dropped since few were being sent: logged once.
    dropping: AtomicBool,
    left: watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) polls: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) not_sealed: AtomicU64,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The machine is the upper 16 bits of an id; the rest is random.
const MACHINE_SHIFT: u32 = 112;

/// The machine that made a registration.
pub(super) fn owner_of(registration: RegistrationId) -> MachineId {
    MachineId((registration.0 >> MACHINE_SHIFT) as u16)
}

impl<E: Engine> Shared<E> {
    pub(super) fn new(engines: Vec<E>, settings: FleetSettings) -> Result<Self, FleetError> {
        Ok(Self {
            engines: engines
                .into_iter()
                .map(|engine| Arc::new(Metered::new(engine)))
                .collect(),
            local: MemoryRegistry::new(settings.limits),
            polls: Mutex::default(),
            connected: watch::Sender::default(),
            polling: Semaphore::new(settings.max_polls),
            counts: Counts::default(),
            members: Mutex::new(Members::new(settings.machine, settings.member_times())),
            incarnation: random()
                .map(u64::from_be_bytes)
                .ok_or(FleetError::NoRandom)?,
            notes: Arc::new(Semaphore::new(settings.max_notes)),
            dropping: AtomicBool::new(false),
            left: watch::Sender::default(),
            settings,
        })
    }

    pub(super) fn holds_lease(&self) -> bool {
        self.members().holds_lease(Instant::now().into_std()) && !*self.left.borrow()
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }

    pub(super) fn polls(&self) -> MutexGuard<'_, Polls> {
        lock(&self.polls)
    }

    /// An id for a new registration; `None` when the system gives no random bytes.
    pub(super) fn new_registration(&self) -> Option<RegistrationId> {
        let low = u128::from_be_bytes(random()?) & ((1 << MACHINE_SHIFT) - 1);
        let machine = u128::from(self.settings.machine.0) << MACHINE_SHIFT;
        Some(RegistrationId(machine | low))
    }

    pub(super) fn new_question(&self) -> Option<QuestionId> {
        random()
    }

    pub(super) fn seal_record(&self, key: &RegistryKey, found: &Found) -> Option<Vec<u8>> {
        seal_record(&self.settings.keys, key, found)
    }

    pub(super) fn seal_reservation(
        &self,
        key: &RegistryKey,
        id: RegistrationId,
    ) -> Option<Vec<u8>> {
        seal_reservation(&self.settings.keys, key, id)
    }

    /// The registration that this record reserves, if it holds no secrets yet.
    pub(super) fn reserved_by(&self, key: &RegistryKey, record: &[u8]) -> Option<RegistrationId> {
        match open_record(&self.settings.keys, key, record) {
            Some(Record::Reserved(id)) => Some(id),
            _ => None,
        }
    }

    pub(super) fn seal(&self, to: Option<MachineId>, body: Body) -> Option<Vec<u8>> {
        let from = self.settings.machine;
        Message { from, body }.seal(&self.settings.keys, to)
    }

    pub(super) fn reachable(&self) -> impl Iterator<Item = &Arc<Metered<E>>> {
        self.engines
            .iter()
            .filter(|engine| engine.engine.connected())
    }

    /// Lists this machine at an engine, and takes in the others.
    pub(super) async fn beat(&self, at: &Metered<E>) -> Result<Membership, EngineError> {
        if *self.left.borrow() {
            return Err(EngineError::new("this machine has left its fleet"));
        }
        let sent = Instant::now();
        let beat = Beat {
            incarnation: self.incarnation,
            count: at.beats.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let FleetSettings {
            machine,
            member_life,
            ..
        } = self.settings;
        let membership = at.run(at.engine.join(machine, beat, member_life)).await?;
        let sent = sent.into_std();
        let mut members = self.members();
        let known = members.conflict(sent);
        members.handle_heartbeat(beat, &membership, sent);
        if members.conflict(sent) && !known {
            tracing::error!(%machine, "machine number in use by another process; give each machine its own");
        }
        Ok(membership)
    }

    /// Lists this machine at every engine within reach.
    pub(super) async fn beat_everywhere(&self) -> Vec<Membership> {
        let beats = self.reachable().map(|engine| self.beat(engine));
        join_all(beats).await.into_iter().flatten().collect()
    }

    /// Sends a sealed message by every engine within reach; true when one has taken it.
    pub(super) async fn publish(&self, to: Option<MachineId>, message: &[u8]) -> bool {
        let sent = self
            .reachable()
            .map(|at| at.run(at.engine.publish(to, message.to_vec())));
        join_all(sent).await.iter().any(Result::is_ok)
    }

    async fn keep(&self, key: RegistryKey, message: &[u8]) {
        let life = self.settings.note_life;
        let kept = self
            .reachable()
            .map(|at| at.run(at.engine.keep(key, message.to_vec(), life)));
        join_all(kept).await;
    }

    /// A machine that asks is a machine of the fleet.
    pub(super) fn hear(&self, from: MachineId) {
        self.members()
            .handle_message(from, Instant::now().into_std());
    }

    pub(super) async fn leave(&self) {
        self.left.send_replace(true);
        if let Some(message) = self.seal(None, Body::Left(self.incarnation)) {
            self.publish(None, &message).await;
        }
        let machine = self.settings.machine;
        let leaving = self.reachable().map(|at| at.run(at.engine.leave(machine)));
        join_all(leaving).await;
    }

    pub(super) fn status(&self) -> FleetStatus {
        let now = Instant::now().into_std();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let members = self.members();
        FleetStatus {
            lease: members.holds_lease(now) && !*self.left.borrow(),
            conflict: members.conflict(now),
            members: members.others(now).count() + 1,
            handshakes: self.local.handshakes(),
            waits: self.local.waits(),
            polls: read(&self.counts.polls),
            unknown: read(&self.counts.unknown),
            not_sealed: read(&self.counts.not_sealed),
            engines: self.engines.iter().map(|engine| engine.status()).collect(),
        }
    }
}

impl<E: Engine> Shared<E> {
    /// Sends a message to one machine in a task of its own, once.
    pub(super) fn notify(self: &Arc<Self>, to: MachineId, body: Body) {
        self.spawn_note(to, body, |shared, message| async move {
            shared.publish(Some(to), &message).await;
        });
    }

    /// Keeps a message about a handshake on the engines and sends it, again after each
    /// reconnection until one engine has taken it or its life is over.
    pub(super) fn notify_and_keep(self: &Arc<Self>, to: MachineId, key: RegistryKey, body: Body) {
        self.spawn_note(to, body, move |shared, message| async move {
            let life = shared.settings.note_life;
            let mut connected = shared.connected.subscribe();
            let delivered = async {
                loop {
                    // Kept first: the receiver subscribes first and reads what is kept second.
                    shared.keep(key, &message).await;
                    if shared.publish(Some(to), &message).await {
                        return;
                    }
                    if connected.changed().await.is_err() {
                        return;
                    }
                }
            };
            if timeout(life, delivered).await.is_err() {
                tracing::warn!(machine = %to, "confirmation not delivered: no engine within reach");
            }
        });
    }

    fn spawn_note<F>(
        self: &Arc<Self>,
        to: MachineId,
        body: Body,
        send: impl FnOnce(Arc<Self>, Vec<u8>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.notes).try_acquire_owned() else {
            if !self.dropping.swap(true, Ordering::Relaxed) {
                tracing::warn!("messages are dropped: max_notes messages are being sent");
            }
            return;
        };
        if self.notes.available_permits() > self.settings.max_notes / 2 {
            self.dropping.store(false, Ordering::Relaxed);
        }
        let Some(message) = self.seal(Some(to), body) else {
            return;
        };
        let sent = send(Arc::clone(self), message);
        tokio::spawn(async move {
            sent.await;
            drop(permit);
        });
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    Generate::try_generate().ok()
}
