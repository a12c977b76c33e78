//! One registry for the machines of a fleet, over one or more engines that they share
//! (`docs/protocol.md`, section 9.8).
//!
//! Each machine keeps the handshakes that it makes in a table of its own. The engines are the fast
//! way to *found*: they hold a sealed record of each pending handshake, and carry messages between
//! the machines. They are never the reason for *unknown*, because an engine may be empty after a
//! restart, or out of reach of the very machine that made the handshake. A handshake is unknown
//! only when every machine of the fleet has answered that it does not hold it.

#[cfg(feature = "registry-test")]
pub mod double;
mod engine;
mod inbox;
mod lookup;
mod members;
mod message;
mod meter;
mod polls;
mod registration;
mod seal;
mod settings;
mod shared;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::proto::server::{Confirmation, HandshakeKeys, LookupMode};
use crate::registry::{
    ConfirmedSide, LookupReply, LookupRequester, PendingRegistry, RegisterError, Registration,
    RegistryKey, Reservation, ServiceId,
};
use message::Body;
use shared::{Shared, owner_of};

pub use engine::{
    Beat, Engine, EngineError, EngineEvent, MAX_KEPT, MachineId, Membership, Operation, Put,
};
pub use members::{MemberTimes, Members};
pub use meter::{EngineStatus, LATENCY_BOUNDS};
pub use polls::Poll;
pub use seal::{FleetKeys, FleetKeysError};
pub use settings::{FleetError, FleetSettings};

/// The registry of one machine of a fleet.
///
/// Several engines are independent of each other, without replication, and the same on all machines:
/// each handshake is recorded on all of them, and one that answers is enough to find it. Clones
/// share everything; the tasks of the registry end with the last clone.
///
/// A machine that reaches no engine for longer than its lease refuses handshakes
/// ([`RegisterError::Isolated`]), also at first until the other machines know it
/// ([`ready`](Self::ready)).
pub struct FleetRegistry<E> {
    shared: Arc<Shared<E>>,
}

/// The state of a [`FleetRegistry`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetStatus {
    /// May this machine complete handshakes?
    pub lease: bool,
    /// Does another process use this machine's number?
    pub conflict: bool,
    /// The machines of the fleet that this one knows, itself included.
    pub members: usize,
    /// Handshakes in this machine's table, tombstones included.
    pub handshakes: usize,
    /// Opens that wait for their handshake.
    pub waits: usize,
    /// Questions to all machines so far.
    pub polls: u64,
    /// Questions whose answer was that the handshake is unknown.
    pub unknown: u64,
    /// Messages and records that no key of the fleet opens.
    pub not_sealed: u64,
    /// The engines, in the order of their settings.
    pub engines: Vec<EngineStatus>,
}

impl<E: Engine> FleetRegistry<E> {
    /// Connects to the engines in tasks of the current runtime.
    ///
    /// # Errors
    /// [`FleetError`] for no engine, and for settings of zero or out of order.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time driver.
    pub fn start(engines: Vec<E>, settings: FleetSettings) -> Result<Self, FleetError> {
        settings.check()?;
        if engines.is_empty() {
            return Err(FleetError::NoEngine);
        }
        let shared = Arc::new(Shared::new(engines, settings)?);
        inbox::start(&shared);
        Ok(Self { shared })
    }

    /// Completes when this machine may complete handshakes: an engine is connected, and the other
    /// machines know this one. Within a lease and a heartbeat after the first connection.
    pub async fn ready(&self) {
        while !self.shared.holds_lease() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The state and the counts.
    pub fn status(&self) -> FleetStatus {
        self.shared.status()
    }

    /// Announces that this machine ends, so that the others stop asking it. Call this when its
    /// connections have ended: after it the machine refuses handshakes.
    pub async fn leave(&self) {
        self.shared.leave().await;
    }
}

impl<E: Engine> PendingRegistry for FleetRegistry<E> {
    fn reserve(&self, key: RegistryKey) -> Option<Box<dyn Reservation>> {
        registration::reserve(&self.shared, key)
    }

    fn register(
        &self,
        key: RegistryKey,
        keys: HandshakeKeys,
    ) -> BoxFuture<'_, Result<Box<dyn Registration>, RegisterError>> {
        registration::register(Arc::clone(&self.shared), key, keys).boxed()
    }

    fn look_up(
        &self,
        key: RegistryKey,
        mode: LookupMode,
        requester: LookupRequester,
    ) -> BoxFuture<'static, LookupReply> {
        // The waiting place is taken at once, as in memory.
        let local = self.shared.local.look_up(key, mode, requester);
        let shared = Arc::clone(&self.shared);
        match mode {
            LookupMode::UntilFlushed => lookup::wait_until_flushed(shared, key, local).boxed(),
            LookupMode::Immediate => lookup::look_up_now(shared, key, local).boxed(),
        }
    }

    fn confirm(&self, service: ServiceId, side: ConfirmedSide) {
        let shared = &self.shared;
        let owner = owner_of(side.confirmation.registration);
        match owner == shared.settings.machine {
            true => shared.local.confirm(service, side),
            false => {
                let key = RegistryKey {
                    service,
                    association: side.confirmation.association,
                };
                shared.notify_and_keep(owner, key, Body::Confirmed(service, side));
            }
        }
    }

    fn dispute(&self, service: ServiceId, dispute: Confirmation) {
        let shared = &self.shared;
        let owner = owner_of(dispute.registration);
        match owner == shared.settings.machine {
            true => shared.local.dispute(service, dispute),
            false => {
                let key = RegistryKey {
                    service,
                    association: dispute.association,
                };
                shared.notify_and_keep(owner, key, Body::Disputed(service, dispute));
            }
        }
    }
}

impl<E> Clone for FleetRegistry<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<E> fmt::Debug for FleetRegistry<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetRegistry")
            .field("machine", &self.shared.settings.machine)
            .finish_non_exhaustive()
    }
}
