//! Settings of a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::observer::Observer;
use mtls_core::registry::{PendingRegistry, ServiceId};
use mtls_core::smkex::SmkexServer;
use mtls_core::{AcceptorBuilder, ListenerLimits, MultipathAcceptor, Policy, SideServiceSettings};

use crate::arguments::{count, duration};
use crate::error::Error;
use crate::tls::{ALPN, ServerTls, provider};

/// The authentication of the two ends of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Authentication {
    /// By certificates, and by the side protocol as far as the policy requires it.
    Certificates {
        /// The certificate of the server, and the CAs of its clients.
        tls: ServerTls,
        /// The action for connections that are not verified.
        policy: Policy,
    },
    /// By the side protocol alone, which is always required ([`mtls_core::smkex`]). The server
    /// has a raw public key that is created when it starts.
    Smkex,
}

impl Authentication {
    fn policy(&self) -> Policy {
        match self {
            Self::Certificates { policy, .. } => *policy,
            Self::Smkex => Policy::Require,
        }
    }

    fn acceptor(&self, settings: SideServiceSettings) -> Result<AcceptorBuilder, Error> {
        Ok(match self {
            Self::Certificates { tls, .. } => MultipathAcceptor::builder(tls.config()?, settings),
            Self::Smkex => SmkexServer::new(provider())
                .alpn(&ALPN)
                .acceptor(settings)?,
        })
    }
}

/// Settings of a [`Server`](crate::Server).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The authentication.
    pub authentication: Authentication,
    /// Listen addresses for TLS and side connections. Default: 127.0.0.1, port 8443.
    pub listen: Vec<SocketAddr>,
    /// Listen addresses for side connections only. Default: none.
    pub side_listen: Vec<SocketAddr>,
    /// The limits.
    pub limits: Limits,
    /// The observer of events. Default: none.
    pub observer: Option<Arc<dyn Observer>>,
    /// The registry of pending handshakes. Default: its own.
    pub registry: Option<Arc<dyn PendingRegistry>>,
    /// The name of the service in the registry. Default: the empty name.
    pub service: ServiceId,
}

impl ServerOptions {
    /// Uses the defaults of all other settings. `tls` may be an [`Identity`](crate::Identity).
    pub fn new(tls: impl Into<ServerTls>, policy: Policy) -> Self {
        let tls = tls.into();
        Self::authenticated(Authentication::Certificates { tls, policy })
    }

    /// The same with SMKEX instead of a certificate.
    pub fn smkex() -> Self {
        Self::authenticated(Authentication::Smkex)
    }

    fn authenticated(authentication: Authentication) -> Self {
        Self {
            authentication,
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8443))],
            side_listen: Vec::new(),
            limits: Limits::default(),
            observer: None,
            registry: None,
            service: ServiceId::default(),
        }
    }

    pub(super) fn acceptor(&self) -> Result<MultipathAcceptor, Error> {
        let mut settings = SideServiceSettings::new(self.authentication.policy());
        if let Some(observer) = &self.observer {
            settings = settings.observer(Arc::clone(observer));
        }
        if let Some(registry) = &self.registry {
            settings = settings
                .registry(Arc::clone(registry))
                .service(self.service);
        }
        Ok(self.authentication.acceptor(settings)?.build()?)
    }
}

/// The limits of a server, which are also options of the command line. A connection counts from the
/// end of its handshake; the limits before that are in [`handshakes`](Self::handshakes).
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of connections at a time; more wait
    #[arg(long = "max-connections", value_name = "N", default_value = "4096", value_parser = count)]
    pub connections: usize,

    /// Grace period for open connections after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub shutdown_timeout: Duration,

    /// The limits of silent connections and pending handshakes.
    #[arg(skip)]
    pub handshakes: ListenerLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            shutdown_timeout: Duration::from_secs(10),
            handshakes: ListenerLimits::default(),
        }
    }
}
