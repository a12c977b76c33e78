//! The registry of a service's pending handshakes.

use std::sync::Arc;

use mtls_core::registry::fleet::{FleetRegistry, FleetStatus};
use mtls_core::registry::redis::RedisEngine;
use mtls_core::registry::{PendingRegistry, ServiceId};

use super::hand_over::HandOver;

/// A registry that several machines share.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) registry: FleetRegistry<RedisEngine>,
    /// The service in it.
    pub(crate) service: ServiceId,
}

/// The registry of a service.
#[derive(Debug)]
pub(crate) enum Pending {
    /// Of this process.
    Memory(HandOver),
    /// Of the fleet.
    Shared(Fleet),
}

impl Pending {
    pub(crate) fn registry(&self) -> Arc<dyn PendingRegistry> {
        match self {
            Self::Memory(registry) => Arc::new(registry.clone()),
            Self::Shared(fleet) => Arc::new(fleet.registry.clone()),
        }
    }

    pub(crate) fn service(&self) -> ServiceId {
        match self {
            Self::Memory(_) => ServiceId::default(),
            Self::Shared(fleet) => fleet.service,
        }
    }

    /// Handshakes in this machine's table.
    pub(crate) fn handshakes(&self) -> usize {
        match self {
            Self::Memory(registry) => registry.memory().handshakes(),
            Self::Shared(fleet) => fleet.registry.status().handshakes,
        }
    }

    /// Opens that wait on this machine.
    pub(crate) fn waits(&self) -> usize {
        match self {
            Self::Memory(registry) => registry.memory().waits(),
            Self::Shared(fleet) => fleet.registry.status().waits,
        }
    }

    /// The state of the fleet, if there is one.
    pub(crate) fn status(&self) -> Option<FleetStatus> {
        match self {
            Self::Memory(_) => None,
            Self::Shared(fleet) => Some(fleet.registry.status()),
        }
    }

    /// Records that this process accepts no more connections.
    pub(crate) fn end(&self) {
        if let Self::Memory(registry) = self {
            registry.end();
        }
    }

    /// Announces to the fleet that this machine ends.
    pub(crate) async fn leave(&self) {
        if let Self::Shared(fleet) = self {
            fleet.registry.leave().await;
        }
    }
}
