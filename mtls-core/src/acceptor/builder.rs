//! The settings of an acceptor.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::ServerConfig;

use super::{Inner, MultipathAcceptor, Settings};
use crate::error::{Error, non_zero_durations};
use crate::proto::binding::Bindings;
use crate::side::server::service::{SideServiceBuilder, side_service_setters};
use crate::tls::authentication::Authentication;
use crate::tls::server::TlsSettings;
use crate::verdict::policy::Policy;

/// Builds a [`MultipathAcceptor`].
#[derive(Debug)]
#[must_use]
pub struct AcceptorBuilder {
    config: Arc<ServerConfig>,
    settings: Settings,
    side: SideServiceBuilder,
}

impl AcceptorBuilder {
    pub(super) fn new(config: Arc<ServerConfig>, policy: Policy) -> Self {
        Self {
            config,
            settings: Settings {
                policy,
                deadline: Duration::from_secs(3),
                handshake_timeout: Duration::from_secs(10),
                authentication: Authentication::Certificate,
            },
            side: SideServiceBuilder::default(),
        }
    }

    /// Without certificates: errors say what the client lacks.
    pub(crate) fn smkex(mut self) -> Self {
        self.settings.authentication = Authentication::SideProtocol;
        self
    }

    /// The bindings that this end has to offer (`docs/protocol.md`, section 4). Default: both.
    pub fn bindings(mut self, bindings: impl Into<Bindings>) -> Self {
        self.side.settings.limits.bindings = bindings.into();
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

    side_service_setters!();

    /// Builds the acceptor.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for settings that cannot be: a duration or a bound of zero, or no
    /// binding that is known.
    pub fn build(self) -> Result<MultipathAcceptor, Error> {
        non_zero_durations(&[
            ("deadline", self.settings.deadline),
            ("handshake_timeout", self.settings.handshake_timeout),
        ])?;
        let tls = TlsSettings::new(&self.config);
        let sides = self.side.build(tls.random())?;
        Ok(MultipathAcceptor {
            inner: Arc::new(Inner {
                tls: RwLock::new(Arc::new(tls)),
                settings: self.settings,
                sides: Arc::new(sides),
            }),
        })
    }
}
