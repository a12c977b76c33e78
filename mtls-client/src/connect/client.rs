//! One connection after the other: connect, verify, and say what came of it.

use std::sync::Arc;

use mtls_core::path::{Endpoint, Path};
use mtls_core::smkex::SmkexClient;
use mtls_core::{ClientStream, ConnectorBuilder, Error, MultipathConnector};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::connect::attempt::Attempt;
use crate::connect::failure::Failure;
use crate::connect::roots::{self, client_config};
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::usage::UsageError;

/// The ALPN name of HTTP/1.1.
pub(crate) const HTTP_1: &[u8] = b"http/1.1";

/// Makes connections as the command line says.
pub(crate) struct Client<'a> {
    settings: &'a Settings,
    first_host: MultipathConnector,
    elsewhere: MultipathConnector,
}

/// Which server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The first one that was named on the command line.
    First,
    /// Another target, or where a redirect led: `--side-endpoint` was not meant for it.
    Another,
}

impl<'a> Client<'a> {
    /// A client of web servers.
    pub(crate) fn new(settings: &'a Settings) -> Result<Self, UsageError> {
        Self::offering(settings, vec![b"h2".to_vec(), HTTP_1.to_vec()])
    }

    /// The same client for HTTP/1.1 alone.
    pub(crate) fn http1_only(&self) -> Result<Self, Failure> {
        Self::offering(self.settings, vec![HTTP_1.to_vec()])
            .map_err(|error| Failure::new(Exit::Usage, "usage", error.to_string()))
    }

    /// A client that offers these application protocols (ALPN).
    pub(crate) fn offering(
        settings: &'a Settings,
        protocols: Vec<Vec<u8>>,
    ) -> Result<Self, UsageError> {
        let trust = Trust::new(settings, protocols)?;
        let build = |side_endpoint: Option<&Endpoint>| {
            let builder = side_endpoint.into_iter().cloned().fold(
                connector(settings, &trust)?,
                ConnectorBuilder::side_endpoint,
            );
            builder.build()
        };
        let build = |side_endpoint| {
            build(side_endpoint).map_err(|error| UsageError::new("settings", error))
        };
        let elsewhere = build(None)?;
        let first_host = match &settings.side_endpoint {
            Some(endpoint) => build(Some(endpoint))?,
            None => elsewhere.clone(),
        };
        Ok(Self {
            settings,
            first_host,
            elsewhere,
        })
    }

    /// Connects and verifies, until `until` at the latest.
    pub(crate) async fn connect(
        &self,
        to: &Endpoint,
        whose: Whose,
        until: Option<Instant>,
    ) -> (Attempt, Option<ClientStream<TcpStream>>) {
        let connector = match whose {
            Whose::First => &self.first_host,
            Whose::Another => &self.elsewhere,
        };
        let connecting = connector.connect(to);
        let result = match until {
            Some(until) => timeout_at(until, connecting).await,
            None => Ok(connecting.await),
        };
        match result {
            Ok(Ok(stream)) => (Attempt::connected(to, &stream), Some(stream)),
            Ok(Err(error)) => (Attempt::failed(to, error, self.settings), None),
            Err(_) => {
                let doing = format!("connecting to {to} and verifying the connection");
                (Attempt::bare(to, Failure::max_time(&doing)), None)
            }
        }
    }
}

/// What a server has to show.
enum Trust {
    Certificate(Arc<ClientConfig>),
    AnyRawKey(Vec<Vec<u8>>),
}

impl Trust {
    fn new(settings: &Settings, protocols: Vec<Vec<u8>>) -> Result<Self, UsageError> {
        Ok(match settings.smkex {
            true => Self::AnyRawKey(protocols),
            false => Self::Certificate(client_config(settings, protocols)?),
        })
    }

    fn connector(&self, settings: &Settings) -> Result<ConnectorBuilder<Path>, Error> {
        match self {
            Self::Certificate(config) => {
                let config = Arc::clone(config);
                Ok(MultipathConnector::builder(config, settings.policy))
            }
            Self::AnyRawKey(protocols) => {
                let protocols: Vec<_> = protocols.iter().map(Vec::as_slice).collect();
                SmkexClient::new(roots::provider())
                    .alpn(&protocols)
                    .connector()
            }
        }
    }
}

fn connector(settings: &Settings, trust: &Trust) -> Result<ConnectorBuilder<Path>, Error> {
    let builder = trust
        .connector(settings)?
        .primary(settings.primary.clone())
        .bindings(settings.bindings)
        .require_independent(settings.require_independent)
        .deadline(settings.deadline);
    let sides = settings.sides.iter().cloned();
    let builder = sides.fold(builder, ConnectorBuilder::side);
    Ok(match settings.connect_timeout {
        Some(timeout) => builder.handshake_timeout(timeout),
        None => builder,
    })
}
