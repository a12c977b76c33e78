//! The service that answers side connections, shared by acceptors and relays in front of servers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::crypto::SecureRandom;
use tokio::sync::oneshot;

use super::settings::SideServiceSettings;
use crate::error::{ApiMisuse, Error};
use crate::observer::Event;
use crate::proto::binding::{Association, Bindings, Nonce};
use crate::proto::server::HandshakeKeys;
use crate::registry::{
    MemoryRegistry, PendingRegistry, RegisterError, Registration, RegistryKey, Reservation,
};
use crate::slots::{SlotId, SlotTable};
use crate::sync::lock;
use crate::tls::io;
use crate::verdict::Verdict;

/// The registry of one service, and the slots of its side connections.
pub(crate) struct SideService {
    pub(crate) registry: Arc<dyn PendingRegistry>,
    pub(crate) settings: SideServiceSettings,
    slots: Mutex<SlotTable<oneshot::Sender<()>>>,
    /// Verifications under way on all side connections.
    verifications: AtomicUsize,
    random: &'static dyn SecureRandom,
}

/// The slot of a side connection; released on drop.
pub(crate) struct SideSlot {
    service: Arc<SideService>,
    pub(crate) id: SlotId,
}

/// The verifications under way on one side connection, counted.
pub(crate) struct Verifications {
    service: Arc<SideService>,
    count: usize,
}

impl Verifications {
    pub(crate) fn set(&mut self, count: usize) {
        let total = &self.service.verifications;
        // Added first: the total is never zero in between.
        total.fetch_add(count, Ordering::AcqRel);
        total.fetch_sub(std::mem::replace(&mut self.count, count), Ordering::AcqRel);
    }
}

impl Drop for Verifications {
    fn drop(&mut self) {
        self.set(0);
    }
}

pub(crate) type Evicted = oneshot::Receiver<()>;

impl Drop for SideSlot {
    fn drop(&mut self) {
        self.service.release_slot(self.id);
    }
}

impl fmt::Debug for SideService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideService")
            .field("settings", &self.settings)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl SideService {
    /// Checks settings for a transport that supports these bindings.
    pub(crate) fn new(
        mut settings: SideServiceSettings,
        supported: Bindings,
        random: &'static dyn SecureRandom,
    ) -> Result<Self, ApiMisuse> {
        settings.limits.bindings = settings.limits.bindings.intersection(supported);
        settings.check()?;
        let registry = settings.registry.take();
        Ok(Self {
            registry: registry.unwrap_or_else(|| Arc::new(MemoryRegistry::default())),
            slots: Mutex::new(SlotTable::new(settings.slots)),
            verifications: AtomicUsize::new(0),
            settings,
            random,
        })
    }

    /// Begins the registration of a handshake whose ClientHello has been read.
    pub(crate) fn reserve(&self, association: Association) -> Option<Box<dyn Reservation>> {
        self.registry.reserve(self.key(association))
    }

    fn key(&self, association: Association) -> RegistryKey {
        RegistryKey {
            service: self.settings.service,
            association,
        }
    }

    /// Registers a handshake before its first flight leaves. One that is not registered goes on
    /// without, and the policy decides; that of a machine without its fleet is refused.
    pub(crate) async fn register(
        &self,
        association: Association,
        reservation: Option<Box<dyn Reservation>>,
        keys: HandshakeKeys,
    ) -> Result<Option<Arc<dyn Registration>>, Error> {
        let registered = match reservation {
            Some(reservation) => reservation.register(keys).await,
            None => self.registry.register(self.key(association), keys).await,
        };
        match registered {
            Ok(registration) => Ok(Some(Arc::from(registration))),
            Err(error) => {
                tracing::warn!(%association, %error, "handshake not registered");
                self.notify(&Event::NotRegistered(error));
                match error {
                    RegisterError::Isolated => Err(Error::Registry(error)),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Notifies the observer, if there is one.
    pub(crate) fn notify(&self, event: &Event<'_>) {
        if let Some(observer) = &self.settings.observer {
            observer.observe(event);
        }
    }

    /// Notifies the observer that the policy accepts a connection.
    pub(crate) fn notify_passed(&self, verdict: impl FnOnce() -> Option<Verdict>) {
        // The verdict is a copy, made only for an observer.
        if let Some(observer) = &self.settings.observer
            && let Some(verdict) = verdict()
        {
            observer.observe(&Event::Passed(&verdict));
        }
    }

    /// The number of verifications under way on side connections.
    pub(crate) fn verifications(&self) -> usize {
        self.verifications.load(Ordering::Acquire)
    }

    /// Counts the verifications of a new side connection: one, until its first bytes are read.
    pub(crate) fn count_verifications(self: &Arc<Self>) -> Verifications {
        let mut verifications = Verifications {
            service: Arc::clone(self),
            count: 0,
        };
        verifications.set(1);
        verifications
    }

    /// Fresh random bytes.
    pub(crate) fn nonce(&self) -> Result<Nonce, Error> {
        io::nonce(self.random)
    }

    /// A slot for a side connection, released on drop, and the signal of its eviction.
    pub(crate) fn acquire_slot(self: &Arc<Self>, peer: SocketAddr) -> Option<(SideSlot, Evicted)> {
        let (evict, evicted) = oneshot::channel();
        let inserted = self.lock().insert(peer.ip(), false, evict)?;
        // Dropping the sender of the evicted side connection ends it.
        drop(inserted.evicted);
        self.notify(&Event::SideOpened);
        let slot = SideSlot {
            service: Arc::clone(self),
            id: inserted.id,
        };
        Some((slot, evicted))
    }

    pub(crate) fn confirm_slot(&self, slot: SlotId) {
        self.lock().confirm(slot);
    }

    pub(crate) fn release_slot(&self, slot: SlotId) {
        self.lock().remove(slot);
        self.notify(&Event::SideClosed);
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable<oneshot::Sender<()>>> {
        lock(&self.slots)
    }
}
