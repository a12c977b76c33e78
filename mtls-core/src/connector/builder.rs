//! The settings of a connector.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::{Inner, MultipathConnector};
use crate::error::{ApiMisuse, Error};
use crate::path::Dial;
use crate::proto::binding::Bindings;
use crate::side::client::config::{ClientPathsBuilder, client_paths_setters};
use crate::tls::authentication::Authentication;
use crate::tls::client::TlsSettings;
use crate::verdict::method::Method;
use crate::verdict::policy::Policy;

/// The most servers whose tickets a connector remembers.
const MAX_TICKET_SERVERS: usize = 1 << 16;

/// Builds a [`MultipathConnector`]. A side path has to be [added](Self::side); all else has a
/// default.
#[derive(Debug)]
#[must_use]
pub struct ConnectorBuilder<D> {
    config: Arc<ClientConfig>,
    paths: ClientPathsBuilder<D>,
    tickets: usize,
    method: Method,
}

impl<D: Dial> ConnectorBuilder<D> {
    pub(super) fn new(config: Arc<ClientConfig>, policy: Policy, primary: D) -> Self {
        Self {
            config,
            paths: ClientPathsBuilder::new(policy, Bindings::ALL, primary),
            tickets: 256,
            method: Method::Side,
        }
    }

    /// Without certificates: there is no resumption then, and errors say what the server lacks.
    pub(crate) fn smkex(mut self) -> Self {
        self.paths.settings.authentication = Authentication::SideProtocol;
        self.tickets = 0;
        self
    }

    /// The application protocols on offer, in the order of preference.
    #[cfg(feature = "hyper-client")]
    pub(crate) fn alpn(mut self, protocols: &[&[u8]]) -> Result<Self, Error> {
        let config = Arc::make_mut(&mut self.config);
        if !config.alpn_protocols.is_empty() {
            return Err(crate::error::ApiMisuse::AlpnAlreadySet.into());
        }
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(self)
    }

    /// Dials another way: every path of the connector, as a simulated network does. Sides that
    /// were added before are dropped.
    pub fn primary_with<E: Dial>(self, primary: E) -> ConnectorBuilder<E> {
        ConnectorBuilder {
            config: self.config,
            paths: self.paths.primary_with(primary),
            tickets: self.tickets,
            method: self.method,
        }
    }

    client_paths_setters!();

    /// How connections are verified. Default: [`Method::Side`].
    ///
    /// With [`Method::Resumption`] every primary handshake is a full one: the session tickets of
    /// the server serve the verification, and are not remembered. With [`Method::Auto`] only
    /// connections that were verified by the side protocol are resumed later.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// The bindings on offer. Default: both, of which the server chooses the exporter where it
    /// can; offer [`Binding::Exporter`](crate::proto::binding::Binding::Exporter) alone to demand
    /// it (`docs/protocol.md`, section 4).
    pub fn bindings(mut self, bindings: impl Into<Bindings>) -> Self {
        self.paths.settings.bindings = bindings.into();
        self
    }

    /// How long the TLS handshake may take. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.paths.settings.handshake_timeout = timeout;
        self
    }

    /// How many servers' tickets the connector remembers, up to 65,536, since
    /// rustls takes the memory at once; 0 turns resumption off. Default: 256.
    /// The store of the wrapped configuration is not used (`docs/protocol.md`, section 8.1).
    ///
    /// rustls sets memory for that many aside at once.
    pub fn tickets(mut self, servers: usize) -> Self {
        self.tickets = servers.min(MAX_TICKET_SERVERS);
        self
    }

    /// Builds the connector.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for settings that cannot be: no side path, no binding that is known, a
    /// duration of zero (but for [`side_idle_timeout`](Self::side_idle_timeout)), no place on a
    /// side connection, or tickets or another method with [`smkex`](crate::smkex).
    pub fn build(self) -> Result<MultipathConnector<D>, Error> {
        if self.paths.settings.authentication == Authentication::SideProtocol {
            if self.tickets > 0 {
                return Err(ApiMisuse::SmkexTickets.into());
            }
            if self.method != Method::Side {
                return Err(ApiMisuse::SmkexMethod.into());
            }
        }
        // A connection that resumes an older session cannot be checked by its own.
        let tickets = match self.method {
            Method::Resumption => 0,
            Method::Side | Method::Auto => self.tickets,
        };
        Ok(MultipathConnector {
            inner: Arc::new(Inner {
                tls: TlsSettings::new(&self.config, tickets, self.method != Method::Side),
                method: self.method,
                paths: self.paths.build()?,
            }),
        })
    }
}
