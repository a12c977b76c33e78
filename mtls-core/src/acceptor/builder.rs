//! The builder of an acceptor.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::ServerConfig;

use super::{Inner, MultipathAcceptor};
use crate::error::{ApiMisuse, Error, non_zero_durations};
use crate::proto::binding::Bindings;
use crate::side::server::service::SideService;
use crate::side::server::sessions::VerifiedSessions;
use crate::side::server::settings::SideServiceSettings;
use crate::tls::authentication::Authentication;
use crate::tls::server::TlsSettings;

/// Builds a [`MultipathAcceptor`].
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use mtls_core::{Error, MultipathAcceptor, Policy, SideServiceSettings};
/// use rustls::ServerConfig;
///
/// fn acceptor(config: Arc<ServerConfig>) -> Result<MultipathAcceptor, Error> {
///     let settings = SideServiceSettings::new(Policy::Require).deadline(Duration::from_secs(2));
///     MultipathAcceptor::builder(config, settings).build()
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct AcceptorBuilder {
    config: Arc<ServerConfig>,
    settings: SideServiceSettings,
    authentication: Authentication,
    inherit: Option<Duration>,
    max_remembered: usize,
}

impl AcceptorBuilder {
    pub(super) fn new(config: Arc<ServerConfig>, settings: SideServiceSettings) -> Self {
        Self {
            config,
            settings,
            authentication: Authentication::Certificate,
            inherit: None,
            max_remembered: 65_536,
        }
    }

    /// An acceptor without certificates: its errors name clients that do not speak SMKEX.
    pub(crate) fn smkex(mut self) -> Self {
        self.authentication = Authentication::SideProtocol;
        self
    }

    /// Lets a connection that resumes the session of a verified one inherit its verification, up to
    /// this age, which counts from the full handshake (`docs/protocol.md`, section 12.3). Clients
    /// that [inherit](crate::ConnectorBuilder::inherit) open no side connection, so a server without
    /// this reports them as unverified, and refuses them under
    /// [`Policy::Require`](crate::Policy::Require). Default: off.
    ///
    /// The server remembers verified handshakes in memory: one that it has forgotten, or that
    /// another machine of a fleet has verified, is inherited from by no connection.
    ///
    /// Inheritance is **weaker**: an attacker who holds the ticket key of the wrapped configuration, or
    /// a ticket from a client's memory, inherits as the client does (`docs/threat-model.md`).
    pub fn inherit(mut self, max_age: Duration) -> Self {
        self.inherit = Some(max_age);
        self
    }

    /// Sets the number of verified handshakes to remember for [`inherit`](Self::inherit), each with
    /// about 200 bytes. One more evicts the oldest. Default: 65,536.
    pub fn max_remembered_handshakes(mut self, handshakes: usize) -> Self {
        self.max_remembered = handshakes;
        self
    }

    /// Builds the acceptor.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for invalid settings: a duration or a limit of zero, no known binding, or
    /// inheritance with [`smkex`](crate::smkex).
    pub fn build(self) -> Result<MultipathAcceptor, Error> {
        let sessions = self.sessions()?;
        let tls = TlsSettings::new(&self.config);
        let sides = SideService::new(self.settings, Bindings::ALL, tls.random())?;
        Ok(MultipathAcceptor {
            inner: Arc::new(Inner {
                tls: RwLock::new(Arc::new(tls)),
                authentication: self.authentication,
                sides: Arc::new(sides),
                sessions,
            }),
        })
    }

    fn sessions(&self) -> Result<Option<Arc<VerifiedSessions>>, ApiMisuse> {
        let Some(max_age) = self.inherit else {
            return Ok(None);
        };
        non_zero_durations(&[("inherit", max_age)])?;
        if self.max_remembered == 0 {
            return Err(ApiMisuse::ZeroLimit("max_remembered_handshakes"));
        }
        if self.authentication == Authentication::SideProtocol {
            return Err(ApiMisuse::InheritTickets);
        }
        let sessions = VerifiedSessions::new(max_age, self.max_remembered);
        Ok(Some(Arc::new(sessions)))
    }
}
