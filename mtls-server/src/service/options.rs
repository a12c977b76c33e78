//! Settings of a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::smkex::SmkexServer;
use mtls_core::{AcceptorBuilder, ListenerLimits, MultipathAcceptor, Policy, SideServiceSettings};
use rustls::pki_types::PrivateKeyDer;

use super::{InheritedSockets, Network};
use crate::arguments::{count, duration};
use crate::error::Error;
use crate::tls::{ALPN, ServerTls, provider};

/// The authentication of the two ends of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Authentication {
    /// By certificates, and by the side protocol as far as the policy requires it.
    Certificates(ServerTls),
    /// By the side protocol alone ([`mtls_core::smkex`]), with [`Policy::Require`] and no other. The
    /// server has this raw public key, or one that is created when it starts.
    Smkex(Option<Arc<PrivateKeyDer<'static>>>),
}

impl Authentication {
    fn acceptor(&self, settings: SideServiceSettings) -> Result<AcceptorBuilder, Error> {
        Ok(match self {
            Self::Certificates(tls) => MultipathAcceptor::builder(tls.config()?, settings),
            Self::Smkex(key) => {
                let server = SmkexServer::new(provider()).alpn(&ALPN);
                let server = match key {
                    Some(key) => server.key(key.clone_key())?,
                    None => server,
                };
                server.acceptor(settings)?
            }
        })
    }
}

/// Settings of a [`Server`](crate::Server).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The authentication.
    pub authentication: Authentication,
    /// The policy, and the settings of verifications.
    pub sides: SideServiceSettings,
    /// The greatest age of the verification that a resumed connection inherits. Default: none is
    /// inherited. See [`AcceptorBuilder::inherit`].
    pub inherit: Option<Duration>,
    /// Listen addresses for TLS and side connections. Default: 127.0.0.1, port 8443.
    pub listen: Vec<SocketAddr>,
    /// Listen addresses for side connections only. Default: none.
    pub side_listen: Vec<SocketAddr>,
    /// Listen for Multipath TCP (RFC 8684) too, at the addresses for TLS. Default: no.
    pub mptcp: bool,
    /// Sockets that take the place of these addresses. Default: none.
    pub inherited: InheritedSockets,
    /// Serve HTTP/3 too, on the UDP ports of the addresses for TLS. Default: no.
    pub http3: bool,
    /// Load balancers that send a PROXY protocol header (version 1 or 2) with each connection: the
    /// address in it counts as the client's. Default: none.
    pub accept_proxy: Vec<Network>,
    /// Other machines use the same registry: at the end, side connections may complete verifications
    /// of their handshakes. Default: no.
    pub shares_registry: bool,
    /// The limits.
    pub limits: Limits,
}

impl ServerOptions {
    /// Uses the defaults of all other settings. `tls` may be an [`Identity`](crate::Identity), and
    /// `sides` a [`Policy`].
    pub fn new(tls: impl Into<ServerTls>, sides: impl Into<SideServiceSettings>) -> Self {
        Self::authenticated(Authentication::Certificates(tls.into()), sides.into())
    }

    /// The same with SMKEX instead of a certificate. Without a key, one is created for this run.
    pub fn smkex(key: Option<PrivateKeyDer<'static>>) -> Self {
        let authentication = Authentication::Smkex(key.map(Arc::new));
        Self::authenticated(authentication, Policy::Require.into())
    }

    fn authenticated(authentication: Authentication, sides: SideServiceSettings) -> Self {
        Self {
            authentication,
            sides,
            inherit: None,
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8443))],
            side_listen: Vec::new(),
            mptcp: false,
            inherited: InheritedSockets::default(),
            http3: false,
            accept_proxy: Vec::new(),
            shares_registry: false,
            limits: Limits::default(),
        }
    }

    pub(super) fn acceptor(&self) -> Result<MultipathAcceptor, Error> {
        let acceptor = self.authentication.acceptor(self.sides.clone())?;
        let inherit = self.inherit.into_iter();
        Ok(inherit.fold(acceptor, AcceptorBuilder::inherit).build()?)
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
