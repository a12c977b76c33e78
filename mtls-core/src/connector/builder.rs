//! The settings of a connector.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::pool::{Pool, PoolSettings};
use super::tls::TlsSettings;
use super::{Inner, MultipathConnector, Settings};
use crate::error::{ApiMisuse, Error};
use crate::path::{Dial, Endpoint};
use crate::policy::Policy;
use crate::proto::binding::Bindings;

/// The most servers whose tickets a connector remembers.
pub const MAX_TICKET_SERVERS: usize = 1 << 16;

/// Builds a [`MultipathConnector`]. A side path has to be [added](Self::side); all else has a
/// default.
#[derive(Debug)]
#[must_use]
pub struct ConnectorBuilder<D> {
    config: Arc<ClientConfig>,
    primary: D,
    sides: Vec<D>,
    side_endpoint: Option<Endpoint>,
    settings: Settings,
    tickets: usize,
    pool: PoolSettings,
}

impl<D: Dial> ConnectorBuilder<D> {
    pub(super) fn new(config: Arc<ClientConfig>, policy: Policy, primary: D) -> Self {
        Self {
            config,
            primary,
            sides: Vec::new(),
            side_endpoint: None,
            settings: Settings {
                policy,
                bindings: Bindings::ALL,
                require_independent: false,
                deadline: Duration::from_secs(3),
                handshake_timeout: Duration::from_secs(10),
            },
            tickets: 256,
            pool: PoolSettings {
                idle: Duration::from_secs(60),
                users: 64,
                connections: 256,
            },
        }
    }

    /// The application protocols on offer, in the order of preference.
    #[cfg(feature = "http")]
    pub(crate) fn alpn(mut self, protocols: &[&[u8]]) -> Result<Self, Error> {
        let config = Arc::make_mut(&mut self.config);
        if !config.alpn_protocols.is_empty() {
            return Err(ApiMisuse::AlpnAlreadySet.into());
        }
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(self)
    }

    /// Dials another way: every path of the connector, as a simulated network does. Sides that
    /// were added before are dropped.
    pub fn primary_with<E: Dial>(self, primary: E) -> ConnectorBuilder<E> {
        ConnectorBuilder {
            config: self.config,
            primary,
            sides: Vec::new(),
            side_endpoint: self.side_endpoint,
            settings: self.settings,
            tickets: self.tickets,
            pool: self.pool,
        }
    }

    /// The path of the TLS connection. Default: as the system routes.
    pub fn primary(mut self, path: D) -> Self {
        self.primary = path;
        self
    }

    /// Adds a side path; all of them must verify (`docs/protocol.md`, section 6.3).
    pub fn side(mut self, path: D) -> Self {
        self.sides.push(path);
        self
    }

    /// Where the side verifier listens. Default: at the server's own host and port.
    pub fn side_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.side_endpoint = Some(endpoint);
        self
    }

    /// The bindings on offer. Default: both, of which the server chooses the exporter where it
    /// can; offer [`Binding::Exporter`](crate::proto::binding::Binding::Exporter) alone to demand
    /// it (`docs/protocol.md`, section 4).
    pub fn bindings(mut self, bindings: impl Into<Bindings>) -> Self {
        self.settings.bindings = bindings.into();
        self
    }

    /// Demands that every side path is [independent](crate::path::Independence::is_independent) of
    /// the primary path: another connection is not verified, and under
    /// [`Policy::Require`] and [`Policy::Prefer`] refused. Default: off; the verdict says what was
    /// found.
    pub fn require_independent(mut self, required: bool) -> Self {
        self.settings.require_independent = required;
        self
    }

    /// How long a verification may take, counted from the ClientHello's leaving
    /// (`docs/protocol.md`, section 7). Default: 3 s. Under [`Policy::Require`] the TLS handshake
    /// may not take longer either.
    ///
    /// A security parameter: given time, two attackers who are apart become two who talk.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long the TLS handshake may take. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// How many servers' tickets the connector remembers, up to [`MAX_TICKET_SERVERS`], since
    /// rustls takes the memory at once; 0 turns resumption off. Default: 256.
    /// The store of the wrapped configuration is not used (`docs/protocol.md`, section 8.1).
    ///
    /// rustls sets memory for that many aside at once.
    pub fn tickets(mut self, servers: usize) -> Self {
        self.tickets = servers.min(MAX_TICKET_SERVERS);
        self
    }

    /// How long a side connection stays open for later connections. Default: 60 s; zero gives
    /// every connection a side connection of its own.
    pub fn side_idle_timeout(mut self, idle: Duration) -> Self {
        self.pool.idle = idle;
        self
    }

    /// How many side connections are kept open for later connections. One that finds no room
    /// serves its own connection only. Default: 256.
    pub fn max_side_connections(mut self, connections: usize) -> Self {
        self.pool.connections = connections;
        self
    }

    /// How many verifications share one side connection at a time; more make another one.
    /// Default: 64.
    pub fn max_verifications_per_side_connection(mut self, verifications: usize) -> Self {
        self.pool.users = verifications;
        self
    }

    /// Builds the connector.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for settings that cannot be: no side path, no binding that is known, a
    /// duration of zero (but for [`side_idle_timeout`](Self::side_idle_timeout)), or no place on a
    /// side connection.
    pub fn build(self) -> Result<MultipathConnector<D>, Error> {
        if self.sides.is_empty() {
            return Err(ApiMisuse::NoSidePath.into());
        }
        if self
            .settings
            .bindings
            .strongest_common(Bindings::ALL)
            .is_none()
        {
            return Err(ApiMisuse::NoBinding.into());
        }
        for (name, duration) in [
            ("deadline", self.settings.deadline),
            ("handshake_timeout", self.settings.handshake_timeout),
        ] {
            if duration.is_zero() {
                return Err(ApiMisuse::ZeroDuration(name).into());
            }
        }
        if self.pool.users == 0 {
            return Err(ApiMisuse::ZeroLimit("max_verifications_per_side_connection").into());
        }
        Ok(MultipathConnector {
            inner: Arc::new(Inner {
                tls: TlsSettings::new(&self.config, self.tickets),
                settings: self.settings,
                primary: self.primary,
                sides: self.sides,
                side_endpoint: self.side_endpoint,
                pool: Pool::new(self.pool),
            }),
        })
    }
}
