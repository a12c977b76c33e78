//! The builder of an acceptor.

use std::sync::{Arc, RwLock};

use rustls::ServerConfig;

use super::{Inner, MultipathAcceptor};
use crate::error::Error;
use crate::proto::binding::Bindings;
use crate::side::server::service::SideService;
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
}

impl AcceptorBuilder {
    pub(super) fn new(config: Arc<ServerConfig>, settings: SideServiceSettings) -> Self {
        Self {
            config,
            settings,
            authentication: Authentication::Certificate,
        }
    }

    /// An acceptor without certificates: its errors name clients that do not speak SMKEX.
    pub(crate) fn smkex(mut self) -> Self {
        self.authentication = Authentication::SideProtocol;
        self
    }

    /// Builds the acceptor.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for invalid settings: a duration or a limit of zero, or no known binding.
    pub fn build(self) -> Result<MultipathAcceptor, Error> {
        let tls = TlsSettings::new(&self.config);
        let sides = SideService::new(self.settings, Bindings::ALL, tls.random())?;
        Ok(MultipathAcceptor {
            inner: Arc::new(Inner {
                tls: RwLock::new(Arc::new(tls)),
                authentication: self.authentication,
                sides: Arc::new(sides),
            }),
        })
    }
}
