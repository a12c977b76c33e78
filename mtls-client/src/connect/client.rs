//! The client: connects and verifies.

use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::Endpoint;
use mtls_core::smkex::SmkexClient;
use mtls_core::{ClientSettings, ClientStream, ConnectorBuilder, Error, MultipathConnector};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::attempt::Attempt;
use super::http3::Http3;
use super::known_hosts::KnownHosts;
use super::provider::provider;
use super::roots::client_config;
use super::settings::Settings;
use crate::args::http3::Http3Args;
use crate::failure::Failure;

/// The ALPN name of HTTP/1.1.
pub(crate) const HTTP_1: &[u8] = b"http/1.1";

/// Makes verified connections.
pub(crate) struct Client<'a> {
    pub(super) settings: &'a Settings,
    /// With `--side-endpoint`.
    configured: MultipathConnector,
    /// With the side verifier at the target's host and port.
    default: MultipathConnector,
    http3: Http3,
}

/// The address of the side verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SideEndpoint {
    /// `--side-endpoint`, if given: for the first host of the command line.
    Configured,
    /// The target's host and port: for further targets, and after a redirect to another host.
    Target,
}

impl<'a> Client<'a> {
    /// A client for HTTP/2 and HTTP/1.1.
    pub(crate) fn new(settings: &'a Settings) -> Result<Self, Failure> {
        Self::offering(settings, vec![b"h2".to_vec(), HTTP_1.to_vec()])
    }

    /// The same client for HTTP/1.1 only.
    pub(crate) fn http1_only(&self) -> Result<Self, Failure> {
        Self::offering(self.settings, vec![HTTP_1.to_vec()])
    }

    /// A client that keeps nothing for later connections: no session, so that each one shows the
    /// server's certificate, and no side connection.
    pub(crate) fn without_reuse(settings: &'a Settings) -> Result<Self, Failure> {
        let protocols = vec![b"h2".to_vec(), HTTP_1.to_vec()];
        Self::with_reuse(settings, protocols, false)
    }

    /// A client that offers these application protocols (ALPN).
    pub(crate) fn offering(
        settings: &'a Settings,
        protocols: Vec<Vec<u8>>,
    ) -> Result<Self, Failure> {
        Self::with_reuse(settings, protocols, true)
    }

    fn with_reuse(
        settings: &'a Settings,
        protocols: Vec<Vec<u8>>,
        reuses: bool,
    ) -> Result<Self, Failure> {
        let authentication = Authentication::new(settings, protocols)?;
        let build = |side_endpoint: Option<&Endpoint>| {
            let timeout = settings.times.connect_timeout;
            let client = settings
                .paths
                .client_settings(&settings.verify, timeout, side_endpoint)
                .bindings(settings.tls.bindings());
            let client = match reuses {
                true => client,
                false => client.side_idle_timeout(Duration::ZERO),
            };
            let client = settings.known_hosts.apply(client);
            let builder = authentication.connector(client)?;
            let builder = builder.method(settings.tls.method);
            let builder = match reuses {
                true => builder,
                false => builder.tickets(0),
            };
            let inherit = settings.tls.inherit.into_iter();
            inherit.fold(builder, ConnectorBuilder::inherit).build()
        };
        let build =
            |side_endpoint| build(side_endpoint).map_err(|error| Failure::usage("settings", error));
        let default = build(None)?;
        let configured = match &settings.paths.side_endpoint {
            Some(endpoint) => build(Some(endpoint))?,
            None => default.clone(),
        };
        Ok(Self {
            settings,
            configured,
            default,
            http3: Http3::default(),
        })
    }

    /// The known hosts.
    pub(crate) fn known_hosts(&self) -> &KnownHosts {
        &self.settings.known_hosts
    }

    /// Whether `--prefetch` is given.
    pub(super) fn prefetches(&self) -> bool {
        self.settings.tls.prefetch
    }

    pub(super) fn connector(&self, side_endpoint: SideEndpoint) -> &MultipathConnector {
        match side_endpoint {
            SideEndpoint::Configured => &self.configured,
            SideEndpoint::Target => &self.default,
        }
    }

    /// The same client, which also makes connections of HTTP/3 as these options say.
    pub(crate) fn with_http3(mut self, args: &Http3Args) -> Result<Self, Failure> {
        self.http3 = Http3::new(args, &self.configured, &self.default)?;
        Ok(self)
    }

    /// The use of HTTP/3.
    pub(crate) fn http3(&self) -> &Http3 {
        &self.http3
    }

    /// Connects and verifies, at most until `until`.
    pub(crate) async fn connect(
        &self,
        to: &Endpoint,
        side_endpoint: SideEndpoint,
        until: Option<Instant>,
    ) -> (Attempt, Option<ClientStream<TcpStream>>) {
        let connecting = self.connector(side_endpoint).connect(to);
        let result = match until {
            Some(until) => timeout_at(until, connecting).await,
            None => Ok(connecting.await),
        };
        let (mut attempt, stream) = match result {
            Ok(Ok(stream)) => (Attempt::connected(to, &stream), Some(stream)),
            Ok(Err(error)) => (Attempt::failed(to, error, &self.settings.paths), None),
            Err(_) => {
                let activity = format!("connecting to {to} and verifying the connection");
                let failure = Failure::max_time(&activity);
                (Attempt::without_verdict(to, failure), None)
            }
        };
        attempt.notices = self.settings.known_hosts.notices();
        (attempt, stream)
    }
}

/// The authentication of servers.
enum Authentication {
    Certificate(Arc<ClientConfig>),
    AnyRawKey(Vec<Vec<u8>>),
}

impl Authentication {
    fn new(settings: &Settings, protocols: Vec<Vec<u8>>) -> Result<Self, Failure> {
        Ok(match settings.tls.smkex {
            true => Self::AnyRawKey(protocols),
            false => Self::Certificate(client_config(
                &settings.tls,
                settings.identity.as_ref(),
                protocols,
            )?),
        })
    }

    fn connector(&self, settings: ClientSettings) -> Result<ConnectorBuilder, Error> {
        match self {
            Self::Certificate(config) => {
                Ok(MultipathConnector::builder(Arc::clone(config), settings))
            }
            Self::AnyRawKey(protocols) => {
                let protocols: Vec<_> = protocols.iter().map(Vec::as_slice).collect();
                SmkexClient::new(provider())
                    .alpn(&protocols)
                    .connector(settings)
            }
        }
    }
}
