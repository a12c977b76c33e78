//! Settings of a server's end: its policy, its registry, and the limits of its side connections.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{ApiMisuse, non_zero_durations};
use crate::observer::Observer;
use crate::proto::binding::Bindings;
use crate::proto::server::ServerLimits;
use crate::registry::{PendingRegistry, ServiceId};
use crate::slots::SlotLimits;
use crate::verdict::policy::Policy;

/// Settings of the server's end of verifications, for
/// [`MultipathAcceptor::builder`](crate::MultipathAcceptor::builder) and
/// `relay::ServerRelay::builder`.
///
/// The builders also take a [`Policy`] in place of settings: everything else then has its default.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use mtls_core::registry::{MemoryRegistry, ServiceId};
/// use mtls_core::{Policy, SideServiceSettings};
///
/// let settings = SideServiceSettings::new(Policy::Prefer)
///     .registry(Arc::new(MemoryRegistry::default()))
///     .service(ServiceId::from_name("shop"))
///     .deadline(Duration::from_secs(2))
///     .max_side_connections(4096);
/// # let _ = settings;
/// ```
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct SideServiceSettings {
    pub(crate) policy: Policy,
    pub(crate) deadline: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) registry: Option<Arc<dyn PendingRegistry>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) service: ServiceId,
    pub(crate) limits: ServerLimits,
    pub(crate) slots: SlotLimits,
    pub(crate) idle_timeout: Duration,
    pub(crate) unconfirmed_timeout: Duration,
}

impl From<Policy> for SideServiceSettings {
    fn from(policy: Policy) -> Self {
        Self::new(policy)
    }
}

impl SideServiceSettings {
    /// Settings with a default for everything but the policy (`docs/protocol.md`, section 6.2).
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            deadline: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(10),
            registry: None,
            observer: None,
            service: ServiceId::default(),
            limits: ServerLimits::default(),
            slots: SlotLimits {
                total: 16_384,
                per_peer: 256,
            },
            idle_timeout: Duration::from_secs(90),
            unconfirmed_timeout: Duration::from_secs(15),
        }
    }

    /// Sets the bindings that this end supports (`docs/protocol.md`, section 4). A relay supports
    /// [`Binding::Hello`](crate::proto::binding::Binding::Hello) only. Default: both.
    pub fn bindings(mut self, bindings: impl Into<Bindings>) -> Self {
        self.limits.bindings = bindings.into();
        self
    }

    /// Sets how long an application's connection waits for a Confirm, counted from the ClientHello
    /// (`docs/protocol.md`, section 7). Default: 3 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the time limit of a client's ClientHello, and then of the rest of its handshake. At a
    /// relay the second part ends with the client's first bytes after the ServerHello. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets the registry of pending handshakes. Machines that serve one address need one registry
    /// (`docs/protocol.md`, section 9.8). Default: a
    /// [`MemoryRegistry`](crate::registry::MemoryRegistry) of its own.
    pub fn registry(mut self, registry: Arc<dyn PendingRegistry>) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Sets the observer to notify of events. Default: none.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets the service within the registry. Services that share a registry need different names;
    /// machines of one service need the same name (`docs/protocol.md`, section 3.2). Default: the
    /// empty name.
    pub fn service(mut self, service: ServiceId) -> Self {
        self.service = service;
        self
    }

    /// Sets how long an Open that arrives before its handshake waits. Default: 5 s.
    pub fn early_wait(mut self, wait: Duration) -> Self {
        self.limits.early_wait = wait;
        self
    }

    /// Sets how long a Proof waits for its Confirm. Default: 10 s.
    pub fn confirm_wait(mut self, wait: Duration) -> Self {
        self.limits.confirm_wait = wait;
        self
    }

    /// Sets the number of verifications on one side connection at a time. Default: 256.
    pub fn max_verifications_per_side_connection(mut self, verifications: usize) -> Self {
        self.limits.exchanges = verifications;
        self
    }

    /// Sets the number of side connections. A new one evicts the oldest that has confirmed nothing.
    /// Default: 16,384.
    pub fn max_side_connections(mut self, connections: usize) -> Self {
        self.slots.total = connections;
        self
    }

    /// Sets the number of side connections of one peer: one IPv4 address, or one IPv6 /64. Default:
    /// 256.
    pub fn max_side_connections_per_peer(mut self, connections: usize) -> Self {
        self.slots.per_peer = connections;
        self
    }

    /// Sets the idle timeout of a side connection that has confirmed a handshake. Default: 90 s.
    pub fn side_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = idle;
        self
    }

    /// Sets the idle timeout of a side connection that has confirmed nothing. Default: 15 s.
    pub fn side_unconfirmed_timeout(mut self, idle: Duration) -> Self {
        self.unconfirmed_timeout = idle;
        self
    }

    pub(super) fn check(&self) -> Result<(), ApiMisuse> {
        non_zero_durations(&[
            ("deadline", self.deadline),
            ("handshake_timeout", self.handshake_timeout),
            ("early_wait", self.limits.early_wait),
            ("confirm_wait", self.limits.confirm_wait),
            ("side_idle_timeout", self.idle_timeout),
            ("side_unconfirmed_timeout", self.unconfirmed_timeout),
        ])?;
        for (name, limit) in [
            (
                "max_verifications_per_side_connection",
                self.limits.exchanges,
            ),
            ("max_side_connections", self.slots.total),
            ("max_side_connections_per_peer", self.slots.per_peer),
        ] {
            if limit == 0 {
                return Err(ApiMisuse::ZeroLimit(name));
            }
        }
        match self.limits.bindings.strongest_common(Bindings::ALL) {
            Some(_) => Ok(()),
            None => Err(ApiMisuse::NoBinding),
        }
    }
}
