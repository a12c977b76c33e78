//! What a server is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::observer::Observer;
use mtls_core::registry::PendingRegistry;
use mtls_core::smkex::SmkexServer;
use mtls_core::{AcceptorBuilder, ListenerLimits, MultipathAcceptor, Policy, SideServiceSettings};

use crate::error::Error;
use crate::tls::{ALPN, ServerTls, provider};

/// How the two ends of a connection are authenticated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Authentication {
    /// By certificates, and by the side protocol as far as the policy demands it.
    Certificates {
        /// What the server shows in its handshakes, and demands of clients.
        tls: ServerTls,
        /// What to do with connections that are not verified.
        policy: Policy,
    },
    /// By the side protocol alone, which is always required ([`mtls_core::smkex`]). The server
    /// shows a raw public key that is made when it starts.
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

/// How to serve TLS.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// What it shows, and what it insists on.
    pub authentication: Authentication,
    /// Where to listen for TLS and side connections. Default: 127.0.0.1, port 8443.
    pub listen: Vec<SocketAddr>,
    /// Where to listen for side connections only. Default: nowhere.
    pub side_listen: Vec<SocketAddr>,
    /// The bounds.
    pub limits: Limits,
    /// Who is told what happens. Default: nobody.
    pub observer: Option<Arc<dyn Observer>>,
    /// Where pending handshakes are kept. Default: a registry of its own.
    pub registry: Option<Arc<dyn PendingRegistry>>,
}

impl ServerOptions {
    /// The defaults of everything that has one. An [`Identity`](crate::Identity) alone will do.
    pub fn new(tls: impl Into<ServerTls>, policy: Policy) -> Self {
        let tls = tls.into();
        Self::authenticated(Authentication::Certificates { tls, policy })
    }

    /// The same without a certificate.
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
        }
    }

    pub(super) fn acceptor(&self) -> Result<MultipathAcceptor, Error> {
        let mut settings = SideServiceSettings::new(self.authentication.policy());
        if let Some(observer) = &self.observer {
            settings = settings.observer(Arc::clone(observer));
        }
        if let Some(registry) = &self.registry {
            settings = settings.registry(Arc::clone(registry));
        }
        Ok(self.authentication.acceptor(settings)?.build()?)
    }
}

/// The bounds of a server. A connection counts from the end of its handshake; what may wait
/// before is in [`handshakes`](Self::handshakes).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time; more wait to be served. Default: 4,096.
    pub connections: usize,
    /// How long open connections may go on when the server stops. Default: 10 s.
    pub shutdown_timeout: Duration,
    /// Silent connections, and handshakes under way.
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
