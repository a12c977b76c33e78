//! What a connector and a client's relay have in common: their paths, and the bounds of a
//! verification.

use std::time::Duration;

use super::pool::{Pool, PoolSettings};
use crate::error::{ApiMisuse, Error, TimedOut, non_zero_durations};
use crate::path::{Dial, Endpoint};
use crate::proto::binding::Bindings;
use crate::tls::authentication::Authentication;
use crate::verdict::policy::Policy;

/// The paths of a client, ready for use.
pub(crate) struct ClientPaths<D> {
    pub(crate) settings: Settings,
    pub(crate) primary: D,
    pub(crate) sides: Vec<D>,
    pub(crate) side_endpoint: Option<Endpoint>,
    pub(crate) pool: Pool,
}

/// What a client insists on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    pub(crate) bindings: Bindings,
    pub(crate) require_independent: bool,
    pub(crate) deadline: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) authentication: Authentication,
}

impl Settings {
    /// How long the handshake may take once the ClientHello has left.
    pub(crate) fn handshake_limit(&self) -> Duration {
        match self.policy {
            // Past the deadline nothing can verify any more, so there is nothing to wait for.
            Policy::Require => self.handshake_timeout.min(self.deadline),
            Policy::Prefer | Policy::Observe => self.handshake_timeout,
        }
    }

    /// What it means that it took longer.
    pub(crate) fn handshake_timed_out(&self) -> Error {
        Error::TimedOut(match self.handshake_limit() < self.handshake_timeout {
            true => TimedOut::Deadline,
            false => TimedOut::Handshake,
        })
    }
}

/// The paths of a client, as they are told; a builder keeps them in its field `paths`.
#[derive(Debug)]
pub(crate) struct ClientPathsBuilder<D> {
    pub(crate) settings: Settings,
    pub(crate) primary: D,
    pub(crate) sides: Vec<D>,
    pub(crate) side_endpoint: Option<Endpoint>,
    pub(crate) pool: PoolSettings,
}

impl<D: Dial> ClientPathsBuilder<D> {
    pub(crate) fn new(policy: Policy, bindings: impl Into<Bindings>, primary: D) -> Self {
        Self {
            settings: Settings {
                policy,
                bindings: bindings.into(),
                require_independent: false,
                deadline: Duration::from_secs(3),
                handshake_timeout: Duration::from_secs(10),
                authentication: Authentication::Certificate,
            },
            primary,
            sides: Vec::new(),
            side_endpoint: None,
            pool: PoolSettings {
                idle: Duration::from_secs(60),
                users: 64,
                connections: 256,
            },
        }
    }

    /// Sides of the old kind are dropped.
    pub(crate) fn primary_with<E: Dial>(self, primary: E) -> ClientPathsBuilder<E> {
        ClientPathsBuilder {
            settings: self.settings,
            primary,
            sides: Vec::new(),
            side_endpoint: self.side_endpoint,
            pool: self.pool,
        }
    }

    pub(crate) fn build(self) -> Result<ClientPaths<D>, ApiMisuse> {
        if self.sides.is_empty() {
            return Err(ApiMisuse::NoSidePath);
        }
        if self
            .settings
            .bindings
            .strongest_common(Bindings::ALL)
            .is_none()
        {
            return Err(ApiMisuse::NoBinding);
        }
        non_zero_durations(&[
            ("deadline", self.settings.deadline),
            ("handshake_timeout", self.settings.handshake_timeout),
        ])?;
        if self.pool.users == 0 {
            return Err(ApiMisuse::ZeroLimit(
                "max_verifications_per_side_connection",
            ));
        }
        Ok(ClientPaths {
            settings: self.settings,
            primary: self.primary,
            sides: self.sides,
            side_endpoint: self.side_endpoint,
            pool: Pool::new(self.pool),
        })
    }
}

/// The setters that connectors and relays have in common; the builder keeps a
/// [`ClientPathsBuilder`] in its field `paths`.
macro_rules! client_paths_setters {
    () => {
        /// The path of the TLS connection. Default: as the system routes.
        pub fn primary(mut self, path: D) -> Self {
            self.paths.primary = path;
            self
        }

        /// Adds a side path; all of them must verify (`docs/protocol.md`, section 6.3).
        pub fn side(mut self, path: D) -> Self {
            self.paths.sides.push(path);
            self
        }

        /// Where the side verifier listens. Default: at each server's own host and port.
        pub fn side_endpoint(mut self, endpoint: crate::path::Endpoint) -> Self {
            self.paths.side_endpoint = Some(endpoint);
            self
        }

        /// Demands that every side path is
        /// [independent](crate::path::Independence::is_independent) of the primary path: another
        /// connection is not verified, and under
        /// [`Policy::Require`](crate::Policy::Require) and
        /// [`Policy::Prefer`](crate::Policy::Prefer) refused. Default: off; the verdict says what
        /// was found.
        pub fn require_independent(mut self, required: bool) -> Self {
            self.paths.settings.require_independent = required;
            self
        }

        /// How long a verification may take, counted from the ClientHello's leaving
        /// (`docs/protocol.md`, section 7). Default: 3 s. Under
        /// [`Policy::Require`](crate::Policy::Require) the TLS handshake may not take longer
        /// either.
        ///
        /// A security parameter: given time, two attackers who are apart become two who talk.
        pub fn deadline(mut self, deadline: std::time::Duration) -> Self {
            self.paths.settings.deadline = deadline;
            self
        }

        /// How long a side connection stays open for later connections. Default: 60 s; zero gives
        /// every connection a side connection of its own.
        pub fn side_idle_timeout(mut self, idle: std::time::Duration) -> Self {
            self.paths.pool.idle = idle;
            self
        }

        /// How many side connections are kept open for later connections. One that finds no room
        /// serves its own connection only. Default: 256.
        pub fn max_side_connections(mut self, connections: usize) -> Self {
            self.paths.pool.connections = connections;
            self
        }

        /// How many verifications share one side connection at a time; more make another one.
        /// Default: 64.
        pub fn max_verifications_per_side_connection(mut self, verifications: usize) -> Self {
            self.paths.pool.users = verifications;
            self
        }
    };
}
pub(crate) use client_paths_setters;
