//! What answers side connections: shared by acceptors and by relays in front of servers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::crypto::SecureRandom;
use tokio::sync::oneshot;

use crate::error::{ApiMisuse, Error, non_zero_durations};
use crate::observer::{Event, Observer};
use crate::proto::binding::{Association, Bindings, Nonce};
use crate::proto::server::{HandshakeKeys, ServerLimits};
use crate::registry::{
    MemoryRegistry, PendingRegistry, RegisterError, Registration, RegistryKey, ServiceId,
};
use crate::slots::{SlotId, SlotLimits, SlotTable};
use crate::tls::io;
use crate::verdict::Verdict;

/// One service's registry, and the bounds of its side connections.
pub(crate) struct SideService {
    pub(crate) registry: Arc<dyn PendingRegistry>,
    pub(crate) settings: SideSettings,
    observer: Option<Arc<dyn Observer>>,
    slots: Mutex<SlotTable<oneshot::Sender<()>>>,
    random: &'static dyn SecureRandom,
}

/// A side connection's place; given up on drop.
pub(crate) struct SideSlot {
    service: Arc<SideService>,
    pub(crate) id: SlotId,
}

pub(crate) type Evicted = oneshot::Receiver<()>;

impl Drop for SideSlot {
    fn drop(&mut self) {
        self.service.release_slot(self.id);
    }
}

/// What a service was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SideSettings {
    pub(crate) service: ServiceId,
    pub(crate) limits: ServerLimits,
    pub(crate) idle_timeout: Duration,
    pub(crate) unconfirmed_timeout: Duration,
}

/// Builds a [`SideService`].
#[derive(Debug)]
pub(crate) struct SideServiceBuilder {
    pub(crate) settings: SideSettings,
    pub(crate) registry: Option<Arc<dyn PendingRegistry>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) slots: SlotLimits,
}

impl fmt::Debug for SideService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideService")
            .field("settings", &self.settings)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Default for SideServiceBuilder {
    fn default() -> Self {
        Self {
            settings: SideSettings {
                service: ServiceId::default(),
                limits: ServerLimits::default(),
                idle_timeout: Duration::from_secs(90),
                unconfirmed_timeout: Duration::from_secs(15),
            },
            registry: None,
            observer: None,
            slots: SlotLimits {
                total: 16_384,
                per_peer: 256,
            },
        }
    }
}

impl SideServiceBuilder {
    pub(crate) fn build(self, random: &'static dyn SecureRandom) -> Result<SideService, ApiMisuse> {
        let SideSettings {
            limits,
            idle_timeout,
            unconfirmed_timeout,
            ..
        } = self.settings;
        non_zero_durations(&[
            ("early_wait", limits.early_wait),
            ("confirm_wait", limits.confirm_wait),
            ("side_idle_timeout", idle_timeout),
            ("side_unconfirmed_timeout", unconfirmed_timeout),
        ])?;
        for (name, limit) in [
            ("max_verifications_per_side_connection", limits.exchanges),
            ("max_side_connections", self.slots.total),
            ("max_side_connections_per_peer", self.slots.per_peer),
        ] {
            if limit == 0 {
                return Err(ApiMisuse::ZeroLimit(name));
            }
        }
        if limits.bindings.strongest_common(Bindings::ALL).is_none() {
            return Err(ApiMisuse::NoBinding);
        }
        Ok(SideService {
            registry: self
                .registry
                .unwrap_or_else(|| Arc::new(MemoryRegistry::default())),
            settings: self.settings,
            observer: self.observer,
            slots: Mutex::new(SlotTable::new(self.slots)),
            random,
        })
    }
}

impl SideService {
    /// Registers a handshake before its first flight leaves. One that is not registered goes on
    /// without, and the policy decides; that of a machine without its fleet is refused.
    pub(crate) async fn register(
        &self,
        association: Association,
        keys: HandshakeKeys,
    ) -> Result<Option<Arc<dyn Registration>>, Error> {
        let key = RegistryKey {
            service: self.settings.service,
            association,
        };
        match self.registry.register(key, keys).await {
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

    /// Tells the observer, if there is one.
    pub(crate) fn notify(&self, event: &Event<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(event);
        }
    }

    /// Tells the observer that the policy lets a connection pass.
    pub(crate) fn notify_passed(&self, verdict: impl FnOnce() -> Option<Verdict>) {
        // The verdict is a copy, which nobody pays for whom nobody watches.
        if let Some(observer) = &self.observer
            && let Some(verdict) = verdict()
        {
            observer.observe(&Event::Passed(&verdict));
        }
    }

    /// Fresh random bytes.
    pub(crate) fn nonce(&self) -> Result<Nonce, Error> {
        io::nonce(self.random)
    }

    /// A place for a side connection, given up on drop, and word of its eviction.
    pub(crate) fn acquire_slot(self: &Arc<Self>, peer: SocketAddr) -> Option<(SideSlot, Evicted)> {
        let (evict, evicted) = oneshot::channel();
        let inserted = self.lock().insert(peer.ip(), false, evict)?;
        // Dropping the sender of the one who was evicted tells it.
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
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The setters that acceptors and relays have in common; the builder keeps a
/// [`SideServiceBuilder`] in its field `side`.
macro_rules! side_service_setters {
    () => {
        /// Where pending handshakes are kept. Default: a
        /// [`MemoryRegistry`](crate::registry::MemoryRegistry) of its own. Machines that serve one
        /// address need one registry (`docs/protocol.md`, section 9.8).
        pub fn registry(
            mut self,
            registry: std::sync::Arc<dyn crate::registry::PendingRegistry>,
        ) -> Self {
            self.side.registry = Some(registry);
            self
        }

        /// Who is told what happens. Default: nobody.
        pub fn observer(mut self, observer: std::sync::Arc<dyn crate::observer::Observer>) -> Self {
            self.side.observer = Some(observer);
            self
        }

        /// Which service of the registry this is. Services that share a registry need names of
        /// their own, and machines of one service the same name (`docs/protocol.md`, section
        /// 3.2). Default: the empty name.
        pub fn service(mut self, service: crate::registry::ServiceId) -> Self {
            self.side.settings.service = service;
            self
        }

        /// How long an Open that came before its handshake waits. Default: 5 s.
        pub fn early_wait(mut self, wait: std::time::Duration) -> Self {
            self.side.settings.limits.early_wait = wait;
            self
        }

        /// How long a Proof waits for its Confirm. Default: 10 s.
        pub fn confirm_wait(mut self, wait: std::time::Duration) -> Self {
            self.side.settings.limits.confirm_wait = wait;
            self
        }

        /// How many verifications one side connection may carry at a time. Default: 256.
        pub fn max_verifications_per_side_connection(mut self, verifications: usize) -> Self {
            self.side.settings.limits.exchanges = verifications;
            self
        }

        /// How many side connections there may be; the oldest that has confirmed nothing makes
        /// room for a new one. Default: 16,384.
        pub fn max_side_connections(mut self, connections: usize) -> Self {
            self.side.slots.total = connections;
            self
        }

        /// The same for one peer: one IPv4 address, or one IPv6 /64. Default: 256.
        pub fn max_side_connections_per_peer(mut self, connections: usize) -> Self {
            self.side.slots.per_peer = connections;
            self
        }

        /// How long a side connection may be idle once it has confirmed a handshake. Default:
        /// 90 s.
        pub fn side_idle_timeout(mut self, idle: std::time::Duration) -> Self {
            self.side.settings.idle_timeout = idle;
            self
        }

        /// The same for one that has confirmed nothing yet. Default: 15 s.
        pub fn side_unconfirmed_timeout(mut self, idle: std::time::Duration) -> Self {
            self.side.settings.unconfirmed_timeout = idle;
            self
        }
    };
}
pub(crate) use side_service_setters;
