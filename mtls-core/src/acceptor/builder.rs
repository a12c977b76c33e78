//! The settings of an acceptor.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;

use super::tls::TlsSettings;
use super::{Inner, MultipathAcceptor, Settings};
use crate::error::{ApiMisuse, Error};
use crate::places::{PlaceLimits, Places};
use crate::policy::Policy;
use crate::proto::binding::Bindings;
use crate::proto::server::ServerLimits;
use crate::registry::{MemoryRegistry, PendingRegistry, ServiceId};

/// Builds a [`MultipathAcceptor`].
#[derive(Debug)]
#[must_use]
pub struct AcceptorBuilder {
    config: Arc<ServerConfig>,
    settings: Settings,
    registry: Option<Arc<dyn PendingRegistry>>,
    places: PlaceLimits,
}

impl AcceptorBuilder {
    pub(super) fn new(config: Arc<ServerConfig>, policy: Policy) -> Self {
        Self {
            config,
            settings: Settings {
                policy,
                service: ServiceId::default(),
                deadline: Duration::from_secs(3),
                handshake_timeout: Duration::from_secs(10),
                side: ServerLimits::default(),
                side_idle_timeout: Duration::from_secs(90),
                stranger_timeout: Duration::from_secs(15),
            },
            registry: None,
            places: PlaceLimits {
                total: 16_384,
                per_peer: 256,
            },
        }
    }

    /// Where pending handshakes are kept. Default: a [`MemoryRegistry`] of its own. Machines that
    /// serve one address need one registry (`docs/protocol.md`, section 9.8).
    pub fn registry(mut self, registry: Arc<dyn PendingRegistry>) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Which service of the registry this is. Services that share a registry need names of their
    /// own, and machines of one service the same name (`docs/protocol.md`, section 3.2). Default:
    /// the empty name.
    pub fn service(mut self, service: ServiceId) -> Self {
        self.settings.service = service;
        self
    }

    /// The bindings that this end has to offer (`docs/protocol.md`, section 4). Default: both.
    pub fn bindings(mut self, bindings: impl Into<Bindings>) -> Self {
        self.settings.side.bindings = bindings.into();
        self
    }

    /// How long the application may be held back for a Confirm, counted from the ClientHello
    /// (`docs/protocol.md`, section 7). Default: 3 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long a client may take for its ClientHello, and then for the rest of the handshake.
    /// Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// How long an Open that came before its handshake waits. Default: 5 s.
    pub fn early_wait(mut self, wait: Duration) -> Self {
        self.settings.side.early_wait = wait;
        self
    }

    /// How long a Proof waits for its Confirm. Default: 10 s.
    pub fn confirm_wait(mut self, wait: Duration) -> Self {
        self.settings.side.confirm_wait = wait;
        self
    }

    /// How many verifications one side connection may carry at a time. Default: 256.
    pub fn max_verifications_per_side_connection(mut self, verifications: usize) -> Self {
        self.settings.side.exchanges = verifications;
        self
    }

    /// How many side connections there may be; the oldest that has confirmed nothing makes room
    /// for a new one. Default: 16,384.
    pub fn max_side_connections(mut self, connections: usize) -> Self {
        self.places.total = connections;
        self
    }

    /// The same for one peer: one IPv4 address, or one IPv6 /64. Default: 256.
    pub fn max_side_connections_per_peer(mut self, connections: usize) -> Self {
        self.places.per_peer = connections;
        self
    }

    /// How long a side connection may be idle once it has confirmed a handshake. Default: 90 s.
    pub fn side_idle_timeout(mut self, idle: Duration) -> Self {
        self.settings.side_idle_timeout = idle;
        self
    }

    /// The same for one that has confirmed nothing yet. Default: 15 s.
    pub fn side_stranger_timeout(mut self, idle: Duration) -> Self {
        self.settings.stranger_timeout = idle;
        self
    }

    /// Builds the acceptor.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for settings that cannot be: a duration or a bound of zero, or no
    /// binding that is known.
    pub fn build(self) -> Result<MultipathAcceptor, Error> {
        let settings = &self.settings;
        for (name, duration) in [
            ("deadline", settings.deadline),
            ("handshake_timeout", settings.handshake_timeout),
            ("early_wait", settings.side.early_wait),
            ("confirm_wait", settings.side.confirm_wait),
            ("side_idle_timeout", settings.side_idle_timeout),
            ("side_stranger_timeout", settings.stranger_timeout),
        ] {
            if duration.is_zero() {
                return Err(ApiMisuse::ZeroDuration(name).into());
            }
        }
        for (name, limit) in [
            (
                "max_verifications_per_side_connection",
                settings.side.exchanges,
            ),
            ("max_side_connections", self.places.total),
            ("max_side_connections_per_peer", self.places.per_peer),
        ] {
            if limit == 0 {
                return Err(ApiMisuse::ZeroLimit(name).into());
            }
        }
        if settings
            .side
            .bindings
            .strongest_common(Bindings::ALL)
            .is_none()
        {
            return Err(ApiMisuse::NoBinding.into());
        }
        let inner = Inner {
            tls: TlsSettings::new(&self.config),
            settings: self.settings,
            registry: self
                .registry
                .unwrap_or_else(|| Arc::new(MemoryRegistry::default())),
            sides: Mutex::new(Places::new(self.places)),
        };
        Ok(MultipathAcceptor {
            inner: Arc::new(inner),
        })
    }
}
