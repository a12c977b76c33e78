//! The builder of a connector.

use std::sync::Arc;

use rustls::ClientConfig;

use super::{Inner, MultipathConnector};
use crate::error::{ApiMisuse, Error};
use crate::path::{Dial, Path};
use crate::proto::binding::Bindings;
use crate::side::client::settings::{ClientPaths, ClientSettings};
use crate::tls::authentication::Authentication;
use crate::tls::client::TlsSettings;
use crate::verdict::method::Method;

/// The most servers whose tickets a connector stores.
const MAX_TICKET_SERVERS: usize = 1 << 16;

/// Builds a [`MultipathConnector`].
///
/// ```
/// use std::sync::Arc;
///
/// use mtls_core::{ClientSettings, MultipathConnector, Policy};
/// use rustls::ClientConfig;
///
/// // Resumes no session.
/// fn connector(config: Arc<ClientConfig>) -> Result<MultipathConnector, Box<dyn std::error::Error>> {
///     let settings = ClientSettings::new(Policy::Require).side("if:wwan0".parse()?);
///     Ok(MultipathConnector::builder(config, settings).tickets(0).build()?)
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ConnectorBuilder<D = Path> {
    config: Arc<ClientConfig>,
    settings: ClientSettings<D>,
    authentication: Authentication,
    tickets: usize,
    method: Method,
}

impl<D: Dial> ConnectorBuilder<D> {
    pub(super) fn new(config: Arc<ClientConfig>, settings: ClientSettings<D>) -> Self {
        Self {
            config,
            settings,
            authentication: Authentication::Certificate,
            tickets: 256,
            method: Method::Side,
        }
    }

    /// A connector without certificates: it resumes nothing, and its errors name servers that do not
    /// speak SMKEX.
    pub(crate) fn smkex(mut self) -> Self {
        self.authentication = Authentication::SideProtocol;
        self.tickets = 0;
        self
    }

    /// Sets the application protocols to offer, in the order of preference.
    #[cfg(feature = "hyper-client")]
    pub(crate) fn alpn(mut self, protocols: &[&[u8]]) -> Result<Self, Error> {
        let config = Arc::make_mut(&mut self.config);
        if !config.alpn_protocols.is_empty() {
            return Err(crate::error::ApiMisuse::AlpnAlreadySet.into());
        }
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(self)
    }

    /// Sets the method of verification. Default: [`Method::Side`].
    ///
    /// With [`Method::Resumption`] every primary handshake is a full one: the session tickets of
    /// the server serve the verification, and are not stored. With [`Method::Auto`] only
    /// connections that were verified by the side protocol are resumed later.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the number of servers whose session tickets the connector stores, at most 65,536; rustls
    /// allocates the memory at once. Zero turns resumption off. Default: 256.
    ///
    /// The ticket store of the wrapped configuration is not used (`docs/protocol.md`, section 8.1).
    pub fn tickets(mut self, servers: usize) -> Self {
        self.tickets = servers.min(MAX_TICKET_SERVERS);
        self
    }

    /// Builds the connector.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for invalid settings: no side path, no known binding, a duration of zero
    /// (except [`side_idle_timeout`](ClientSettings::side_idle_timeout)), no verification on a side
    /// connection, or tickets or another method with [`smkex`](crate::smkex).
    pub fn build(self) -> Result<MultipathConnector<D>, Error> {
        if self.authentication == Authentication::SideProtocol {
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
        let paths = ClientPaths::new(self.settings, Bindings::ALL, self.authentication)?;
        Ok(MultipathConnector {
            inner: Arc::new(Inner {
                tls: TlsSettings::new(&self.config, tickets, self.method != Method::Side),
                method: self.method,
                paths,
            }),
        })
    }
}
