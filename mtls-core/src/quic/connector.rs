//! The client: [`QuicConnector`].

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use quinn::{ClientConfig, Connecting, TokenMemoryCache, TokenStore, TransportConfig};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::time::Instant;

use super::connection::{QuicConnection, Watched, refuse};
use super::endpoints::Endpoints;
use super::error::{not_begun, not_established};
use super::tokens::TokenQuarantine;
use crate::connector::{MultipathConnector, server_name};
use crate::error::{ApiMisuse, Error, TimedOut};
use crate::evaluate::client::{ClientEvaluation, PrimaryTls};
use crate::path::{Dial, Endpoint, Host, Path, Targets};
use crate::proto::binding::Association;
use crate::proto::client::TlsVersion;
use crate::side::client::known::KnownHost;
use crate::side::client::settings::ClientPaths;
use crate::side::client::verification::{SideShared, Verification};
use crate::tls::authentication::Authentication;
use crate::tls::client::TlsSettings;
use crate::tls::quic::client::{ClientHandshake, QuicComplete, alpn, peer_chain};
use crate::verdict::method::Method;
use crate::verdict::{PathReport, PathRole, TlsReport};

/// Builds a [`QuicConnector`].
#[must_use]
pub struct QuicConnectorBuilder<D = Path> {
    connector: MultipathConnector<D>,
    alpn: Vec<Vec<u8>>,
    transport: TransportConfig,
    tickets: usize,
}

impl<D> fmt::Debug for QuicConnectorBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicConnectorBuilder")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

impl<D: Dial> QuicConnectorBuilder<D> {
    /// Sets the application protocols on offer (ALPN), in the order of preference, such as `h3`; those of
    /// the TLS configuration are for TCP. Default: none, which most servers refuse.
    pub fn alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.alpn = protocols.iter().map(|name| name.to_vec()).collect();
        self
    }

    /// Sets quinn's settings of the transport. Default: quinn's own.
    pub fn transport(mut self, transport: TransportConfig) -> Self {
        self.transport = transport;
        self
    }

    /// Sets the number of servers whose session tickets are stored, as
    /// [`ConnectorBuilder::tickets`](crate::ConnectorBuilder::tickets) does; those of TCP are stored
    /// elsewhere. No early data is sent with them. [`smkex`](crate::smkex) stores none. Default: 256.
    pub fn tickets(mut self, servers: usize) -> Self {
        self.tickets = servers.min(1 << 16);
        self
    }

    /// Builds the connector.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for a proxy as the primary path, a side path inside the connection (`mptcp:…`),
    /// or a method that is not the side protocol;
    /// [`Error::Tls`] for a TLS configuration without TLS 1.3, or a provider without
    /// TLS_AES_128_GCM_SHA256.
    pub fn build(self) -> Result<QuicConnector<D>, Error> {
        let (tls, paths, method) = self.connector.parts();
        // Other paths than these are not dialled for QUIC.
        let primary: &dyn Any = &paths.settings.primary;
        let primary = primary.downcast_ref::<Path>();
        if let Some(proxy) = primary.filter(|path| path.kind().proxy().is_some()) {
            return Err(ApiMisuse::QuicProxy(proxy.to_string()).into());
        }
        let mut sides = paths.settings.sides.iter();
        if let Some(network) = sides.find_map(Dial::subflow) {
            return Err(ApiMisuse::QuicSubflow(format!("mptcp:{network}")).into());
        }
        if method == Method::Resumption {
            return Err(ApiMisuse::QuicMethod(method).into());
        }
        // Only a full handshake shows a key, and SMKEX resumes nothing.
        let full = paths.settings.memory.allow_pinned
            || paths.authentication == Authentication::SideProtocol;
        let tickets = if full { 0 } else { self.tickets };
        Ok(QuicConnector {
            inner: Arc::new(Inner {
                tls: tls.for_quic(&self.alpn, tickets)?,
                paths: Arc::clone(paths),
                transport: Arc::new(self.transport),
                tokens: Arc::new(TokenMemoryCache::default()),
                endpoints: Endpoints::default(),
            }),
        })
    }
}

/// Makes QUIC connections, and verifies them over side paths.
///
/// It shares the settings and the side connections of the [`MultipathConnector`] that it is made from:
/// after a verified connection over TCP, the verification of one over QUIC takes no time. Clones share
/// the sockets, the tickets and the side connections. Keep the connector.
///
/// With side paths of another type than [`Path`], it connects on endpoints of the caller's
/// ([`connect_on`](Self::connect_on)).
pub struct QuicConnector<D = Path> {
    inner: Arc<Inner<D>>,
}

impl<D> Clone for QuicConnector<D> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<D> fmt::Debug for QuicConnector<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicConnector")
            .field("inner", &self.inner)
            .finish()
    }
}

struct Inner<D> {
    tls: TlsSettings,
    paths: Arc<ClientPaths<D>>,
    transport: Arc<TransportConfig>,
    tokens: Arc<dyn TokenStore>,
    endpoints: Endpoints,
}

impl<D> fmt::Debug for Inner<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("policy", &self.paths.settings.policy)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

/// One attempt: the primary path of a connection.
struct Attempt<'a> {
    name: &'a ServerName<'static>,
    known: &'a KnownHost,
    target: &'a Endpoint,
    started: Instant,
}

/// A connection whose ClientHello has left, and what is known of its path.
struct Begun {
    connecting: Connecting,
    report: PathReport,
}

impl<D: Dial> QuicConnector<D> {
    /// Starts the builder of a connector for QUIC with the settings of one for TCP: its paths, policy,
    /// known hosts and TLS configuration. [`inherit`](crate::ConnectorBuilder::inherit) does not concern
    /// QUIC: each connection is verified.
    pub fn builder(connector: &MultipathConnector<D>) -> QuicConnectorBuilder<D> {
        QuicConnectorBuilder {
            connector: connector.clone(),
            alpn: Vec::new(),
            transport: TransportConfig::default(),
            tickets: 256,
        }
    }

    /// Connects on an endpoint of the caller's, to an address that they chose, as
    /// [`connect`](QuicConnector::connect) does otherwise. Nothing is known of
    /// its path, so its independence is unknown; `side` says where the side verifier listens. The port of
    /// `address` and `name` identify a [known host](crate::known_hosts).
    ///
    /// # Errors
    /// As [`connect`](QuicConnector::connect), but for [`Error::Dial`].
    ///
    /// # Panics
    /// As [`connect`](QuicConnector::connect).
    pub async fn connect_on(
        &self,
        endpoint: &quinn::Endpoint,
        address: SocketAddr,
        name: ServerName<'static>,
        side: &Endpoint,
    ) -> Result<QuicConnection, Error> {
        let inner = &*self.inner;
        let host = match name.to_str().parse::<Host>() {
            Ok(host) => Endpoint::new(host, address.port()),
            Err(_) => side.clone(),
        };
        let policy = inner.paths.settings.policy;
        let known = inner.paths.known(&host, policy, Method::Side).await?;
        let known = known.at(side);
        let attempt = Attempt {
            name: &name,
            known: &known,
            target: &host,
            started: Instant::now(),
        };
        let begin = |config: ClientConfig| {
            let begun = endpoint.connect_with(config, address, &name.to_str());
            Ok(Begun {
                connecting: begun.map_err(not_begun)?,
                report: PathReport {
                    peer: Some(address),
                    ..PathReport::unknown(PathRole::Primary)
                },
            })
        };
        inner.verify(&attempt, begin).await
    }

    /// Opens the side connections to a server that is likely to be connected to: QUIC's handshake takes
    /// one round trip, and a new side connection two. Returns at once; a side connection that is there
    /// already is left as it is.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open_sides(&self, to: &Endpoint) {
        let paths = &self.inner.paths;
        let side = paths.settings.side_endpoint.as_ref().unwrap_or(to);
        for (index, path) in paths.settings.sides.iter().enumerate() {
            paths.pool.open(index, path, side);
        }
    }
}

impl QuicConnector {
    /// Connects to `to` over the primary path, and verifies the connection over every side path. No
    /// application data can be sent before the verdict. Addresses are tried in turn, until the handshake
    /// with one completes. Dropping the future gives everything up.
    ///
    /// # Errors
    /// As [`MultipathConnector::connect`], with [`Error::Quic`] for a connection that QUIC does not
    /// establish.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time drivers.
    pub async fn connect(&self, to: &Endpoint) -> Result<QuicConnection, Error> {
        self.connect_to_port(to, to.port).await
    }

    /// Connects to another UDP port of the host `to`, as an alternative service on the same host does
    /// (RFC 7838). Everything else is that of `to`: the certificate's name, the side verifier and the
    /// [known host](crate::known_hosts).
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Panics
    /// As [`connect`](Self::connect).
    pub async fn connect_to_port(&self, to: &Endpoint, port: u16) -> Result<QuicConnection, Error> {
        let inner = &*self.inner;
        let settings = &inner.paths.settings;
        let name = server_name(&to.host)?;
        let known = inner.paths.known(to, settings.policy, Method::Side).await?;
        let attempt = Attempt {
            name: &name,
            known: &known,
            target: to,
            started: Instant::now(),
        };
        let targets = settings.primary.targets(to).await;
        let targets = targets.map_err(Error::Dial)?;
        let mut failed = None;
        for &address in &targets.addresses {
            let address = SocketAddr::new(address.ip(), port);
            match inner.attempt(&attempt, &targets, address).await {
                Err(error) if is_unreachable(&error) => {
                    inner.endpoints.forget(address);
                    failed.get_or_insert(error);
                }
                connected => return connected,
            }
        }
        // A name has at least one address.
        Err(failed.unwrap_or(Error::TimedOut(TimedOut::Handshake)))
    }

    /// Waits until the sockets of [`connect`](Self::connect) have no connection any more, so that their
    /// last packets have left before the program ends. A socket that was replaced after a failed attempt
    /// is not waited for.
    pub async fn wait_idle(&self) {
        self.inner.endpoints.wait_idle().await;
    }
}

/// Whether another address may do better.
fn is_unreachable(error: &Error) -> bool {
    matches!(
        error,
        Error::Dial(_) | Error::TimedOut(TimedOut::Handshake | TimedOut::Deadline)
    )
}

impl Inner<Path> {
    async fn attempt(
        &self,
        attempt: &Attempt<'_>,
        targets: &Targets,
        address: SocketAddr,
    ) -> Result<QuicConnection, Error> {
        let path = &self.paths.settings.primary;
        let to = attempt.target;
        let route = path.udp_route(to, address);
        let route = route.map_err(Error::Dial)?;
        let begin = |config: ClientConfig| {
            let name = attempt.name.to_str();
            let (connecting, port) = self
                .endpoints
                .connect(path, (to, address), &config, &name)?;
            Ok(Begun {
                connecting,
                report: PathReport {
                    via: Some(path.kind().clone()),
                    local: Some(SocketAddr::new(route.source, port)),
                    peer: Some(address),
                    resolver: targets.resolver.clone(),
                    route: Some(route.route),
                    ..PathReport::unknown(PathRole::Primary)
                },
            })
        };
        self.verify(attempt, begin).await
    }
}

impl<D: Dial> Inner<D> {
    #[tracing::instrument(name = "multipath_quic_connect", level = "debug", skip_all, fields(target = %attempt.target))]
    async fn verify(
        &self,
        attempt: &Attempt<'_>,
        begin: impl FnOnce(ClientConfig) -> Result<Begun, Error>,
    ) -> Result<QuicConnection, Error> {
        let handshake = self.tls.quic_handshake()?;
        let tokens = Arc::new(TokenQuarantine::new(Arc::clone(&self.tokens)));
        let begun = begin(self.config(&handshake, &tokens))?;
        let missing = || rustls::Error::General("the TLS stack wrote no ClientHello".into());
        let association = handshake.view.association().ok_or_else(missing)?;
        tracing::debug!(%association, "client hello sent");
        let mut verification = self.start(attempt, association)?;
        let view = &handshake.view;
        let established = pin!(async {
            let established = begun.connecting.await;
            established.map_err(|error| not_established(error, view.certificate_error()))
        });
        let connection = verification
            .handshake(established)
            .await
            .map_err(|error| self.paths.authentication.client_error(error))?;
        let complete = view.complete(&connection);
        verification
            .conclude(Some((TlsVersion::Tls13, &complete.secrets)))
            .await?;
        let evaluation = ClientEvaluation {
            known: attempt.known,
            require_independent: self.paths.settings.require_independent,
            target: attempt.target,
            association: Some(association),
            report: begun.report,
            times: verification.times,
            inherits: None,
        };
        let chain = peer_chain(&connection);
        let primary = self.primary(&connection, &complete, &chain);
        let allowed = evaluation
            .allow(
                &primary,
                handshake.quarantine.as_deref(),
                &verification.results(),
            )
            .inspect_err(|_| refuse(&connection))?;
        if allowed.verdict.verified().is_some() {
            tokens.release();
        }
        if attempt.known.has_store() {
            self.paths.record(attempt.known, &allowed.verdict).await;
        }
        Ok(allowed.into_stream(Watched::from(connection)).into())
    }

    /// quinn's configuration of one connection.
    fn config(&self, handshake: &ClientHandshake, tokens: &Arc<TokenQuarantine>) -> ClientConfig {
        let mut config = ClientConfig::new(Arc::clone(&handshake.crypto));
        config.transport_config(Arc::clone(&self.transport));
        config.token_store(Arc::clone(tokens) as Arc<dyn TokenStore>);
        config
    }

    fn start<'a>(
        &'a self,
        attempt: &Attempt<'a>,
        association: Association,
    ) -> Result<Verification<'a, D>, Error> {
        let known = attempt.known;
        let shared = SideShared::new(&self.paths, self.tls.random(), known.side_endpoint());
        let shared = match known.is_unsupported() {
            true => shared.without_sides(),
            false => shared,
        };
        Verification::start(shared, known.policy, association, attempt.started)
    }

    fn primary<'a>(
        &self,
        connection: &quinn::Connection,
        complete: &'a QuicComplete,
        chain: &'a [CertificateDer<'static>],
    ) -> PrimaryTls<'a> {
        let server_key = self.paths.authentication.server_key();
        let alpn = alpn(connection);
        PrimaryTls {
            report: TlsReport::of_quic(complete.negotiated, alpn.as_deref(), chain, server_key),
            chain,
            signature: complete.signature.as_ref(),
        }
    }
}
