//! The builder of a connector.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::{Inner, MultipathConnector};
use crate::error::{ApiMisuse, Error, non_zero_durations};
use crate::path::{Dial, Path};
use crate::proto::binding::Bindings;
use crate::side::client::settings::{ClientPaths, ClientSettings};
use crate::tls::authentication::Authentication;
use crate::tls::client::TlsSettings;
use crate::tls::descent::DescendedTickets;
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
    inherit: Option<Duration>,
}

impl<D: Dial> ConnectorBuilder<D> {
    pub(super) fn new(config: Arc<ClientConfig>, settings: ClientSettings<D>) -> Self {
        Self {
            config,
            settings,
            authentication: Authentication::Certificate,
            tickets: 256,
            method: Method::Side,
            inherit: None,
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
    /// Without [`inherit`](Self::inherit): with [`Method::Resumption`] every primary handshake is a
    /// full one, since the session tickets of the server serve the verification and are not stored;
    /// with [`Method::Auto`] only connections that were verified by the side protocol are resumed
    /// later.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Lets a connection that resumes the session of a verified one inherit its verification, up to
    /// this age: it needs no side path (`docs/protocol.md`, section 12). The age counts from the
    /// verified full handshake, however often its session is renewed. Where the server makes a full
    /// handshake instead, that is verified as usual, after it is complete. Default: off.
    ///
    /// The verdict names the [origin](crate::Verified::inheritance) and its age. Inheritance is
    /// **weaker**: a ticket that is stolen from this process, or the server's ticket key, stolen at
    /// any time, let an attacker on the primary path alone inherit (`docs/threat-model.md`). And a
    /// server whose policy is [`Policy::Require`](crate::Policy::Require) refuses a connection that
    /// no side connection confirms, unless it [inherits](crate::AcceptorBuilder::inherit) too.
    pub fn inherit(mut self, max_age: Duration) -> Self {
        self.inherit = Some(max_age);
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
    /// connection, inheritance without tickets, or tickets or another method with
    /// [`smkex`](crate::smkex).
    pub fn build(self) -> Result<MultipathConnector<D>, Error> {
        if self.authentication == Authentication::SideProtocol {
            if self.tickets > 0 {
                return Err(ApiMisuse::SmkexTickets.into());
            }
            if self.method != Method::Side {
                return Err(ApiMisuse::SmkexMethod.into());
            }
        }
        if let Some(max_age) = self.inherit {
            non_zero_durations(&[("inherit", max_age)])?;
            if self.tickets == 0 {
                return Err(ApiMisuse::InheritTickets.into());
            }
        }
        let keeps = self.inherit.is_some() || self.method == Method::Resumption;
        let keeps = keeps && self.tickets > 0;
        let descended = keeps.then(|| DescendedTickets::new(self.inherit, self.tickets));
        // A connection that resumes an older session cannot be checked by its own.
        let tickets = match self.method {
            Method::Resumption => 0,
            // Only a full handshake shows a key.
            _ if self.settings.memory.allow_pinned => 0,
            Method::Side | Method::Auto => self.tickets,
        };
        let inherits = self.inherit.is_some();
        let paths = Arc::new(ClientPaths::new(
            self.settings,
            Bindings::ALL,
            self.authentication,
        )?);
        if paths.inside().is_some() && (self.method != Method::Side || inherits) {
            return Err(ApiMisuse::SubflowMethod.into());
        }
        Ok(MultipathConnector {
            inner: Arc::new(Inner {
                tls: TlsSettings::new(
                    &self.config,
                    tickets,
                    descended,
                    self.method != Method::Side,
                ),
                method: self.method,
                paths,
            }),
        })
    }
}
