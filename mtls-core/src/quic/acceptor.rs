//! The server: [`QuicAcceptor`].

use std::fmt;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    EndpointConfig, Incoming, Runtime, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    ZeroRttAccepted,
};
use tokio::time::{Instant, timeout_at};

use super::connection::{QuicConnection, Watched, refuse};
use super::error::not_established;
use super::first_data::FirstData;
use super::follow::{FlightSent, Registrar};
use super::gate::{Gate, GatedSocket};
use crate::acceptor::MultipathAcceptor;
use crate::error::{Error, TimedOut};
use crate::evaluate::decision::Handshaken;
use crate::evaluate::server::ServerEvaluation;
use crate::observer::Event;
use crate::proto::binding::Association;
use crate::proto::hello::Negotiated;
use crate::registry::Registration;
use crate::tls::quic::client::{alpn, peer_chain};
use crate::tls::quic::server::QuicTls;
use crate::verdict::policy::Policy;
use crate::verdict::{Times, TlsReport};

/// quinn's default.
const RECEIVE_WINDOW: VarInt = VarInt::MAX;

/// A change of quinn's settings.
type Configure = Box<dyn FnOnce(&mut ServerConfig) + Send>;

/// Builds a [`QuicAcceptor`].
#[must_use]
pub struct QuicAcceptorBuilder {
    acceptor: MultipathAcceptor,
    alpn: Vec<Vec<u8>>,
    transport: TransportConfig,
    receive_window: VarInt,
    unverified_window: u32,
    configure: Option<Configure>,
}

impl fmt::Debug for QuicAcceptorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicAcceptorBuilder")
            .field("acceptor", &self.acceptor)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

impl QuicAcceptorBuilder {
    /// Sets the application protocols (ALPN), in the order of preference, such as `h3`; those of the TLS
    /// configuration are for TCP. Default: none.
    pub fn alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.alpn = protocols.iter().map(|name| name.to_vec()).collect();
        self
    }

    /// Sets quinn's settings of the transport, except for its `receive_window`. Default: quinn's own.
    pub fn transport(mut self, transport: TransportConfig) -> Self {
        self.transport = transport;
        self
    }

    /// Sets the bytes that a client may have in flight on all streams of a connection, from the verdict
    /// on. Default: no limit, as in quinn.
    pub fn receive_window(mut self, bytes: VarInt) -> Self {
        self.receive_window = bytes;
        self
    }

    /// Sets the bytes that a client may have in flight on all streams before the verdict: they wait in
    /// memory. Datagrams (RFC 9221) wait too, up to the `datagram_receive_buffer_size` of the
    /// [`transport`](Self::transport), which is about 1.25 MB in quinn. Default: 64 KiB.
    pub fn unverified_receive_window(mut self, bytes: u32) -> Self {
        self.unverified_window = bytes;
        self
    }

    /// Changes quinn's other settings of a server, such as `max_incoming` or `migration`. The TLS
    /// configuration and the transport are set afterwards.
    pub fn configure(mut self, configure: impl FnOnce(&mut ServerConfig) + Send + 'static) -> Self {
        self.configure = Some(Box::new(configure));
        self
    }

    /// Builds the acceptor.
    ///
    /// # Errors
    /// [`Error::Tls`] for a TLS configuration without TLS 1.3, or a provider without
    /// TLS_AES_128_GCM_SHA256.
    pub fn build(mut self) -> Result<QuicAcceptor, Error> {
        let tls = QuicTls::new(self.alpn);
        let mut config = ServerConfig::with_crypto(tls.template(&self.acceptor.tls())?);
        if let Some(configure) = self.configure.take() {
            configure(&mut config);
        }
        let window = VarInt::from_u32(self.unverified_window).min(self.receive_window);
        self.transport.receive_window(window);
        config.transport_config(Arc::new(self.transport));
        Ok(QuicAcceptor {
            inner: Arc::new(Inner {
                acceptor: self.acceptor,
                tls,
                config,
                receive_window: self.receive_window,
                gate: Arc::default(),
            }),
        })
    }
}

/// Accepts QUIC connections, whose verifications the side connections of a
/// [`MultipathAcceptor`] answer.
///
/// Both share the settings, the registry, the observer and the TLS configuration:
/// [`MultipathAcceptor::replace_config`] concerns both. A server needs side connections on a TCP port, by a
/// [`MultipathListener`](crate::MultipathListener) or by
/// [`MultipathAcceptor::accept_side`]. Clients look for them at the same host and port number.
///
/// Sessions of QUIC are not [inherited](crate::AcceptorBuilder::inherit) from. Clones share everything.
#[derive(Clone, Debug)]
pub struct QuicAcceptor {
    inner: Arc<Inner>,
}

struct Inner {
    acceptor: MultipathAcceptor,
    tls: QuicTls,
    /// With the TLS configuration of the start, for packets before a handshake.
    config: ServerConfig,
    receive_window: VarInt,
    gate: Arc<Gate>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("acceptor", &self.acceptor)
            .finish_non_exhaustive()
    }
}

/// A complete handshake.
struct Complete {
    watched: Watched,
    association: Option<Association>,
    negotiated: Option<Negotiated>,
    registration: Option<Arc<dyn Registration>>,
}

impl QuicAcceptor {
    /// Starts the builder of an acceptor for QUIC, with the settings and the certificates of one for TCP.
    pub fn builder(acceptor: &MultipathAcceptor) -> QuicAcceptorBuilder {
        QuicAcceptorBuilder {
            acceptor: acceptor.clone(),
            alpn: Vec::new(),
            transport: TransportConfig::default(),
            receive_window: RECEIVE_WINDOW,
            unverified_window: 64 * 1024,
            configure: None,
        }
    }

    /// Makes quinn's endpoint for this acceptor: its socket can hold the first flight of a handshake back
    /// until a registry on another machine has acknowledged it. Several endpoints can share an acceptor.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver.
    pub fn endpoint(&self, socket: UdpSocket) -> std::io::Result<quinn::Endpoint> {
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket)?;
        let gated = Arc::new(GatedSocket::new(socket, Arc::clone(&self.inner.gate)));
        let config = Some(self.inner.config.clone());
        quinn::Endpoint::new_with_abstract_socket(EndpointConfig::default(), config, gated, runtime)
    }

    /// Takes a connection of [`quinn::Endpoint::accept`]. Its handshake is complete when this returns. Under
    /// [`Policy::Require`](crate::Policy::Require) it is confirmed as well; under
    /// [`Policy::Prefer`](crate::Policy::Prefer) its verdict may still be undecided
    /// ([`QuicConnection`]). Dropping the future gives the connection up.
    ///
    /// An endpoint of the caller's works with a registry in memory; others need
    /// [`endpoint`](Self::endpoint), for every endpoint of the acceptor. This is checked only if there is
    /// none.
    ///
    /// Never await this in line in an accept loop: a silent client would block all others. Use
    /// [`QuicListener`](super::QuicListener), or a bounded number of tasks.
    ///
    /// # Errors
    /// [`Error::Quic`], [`Error::Tls`] or [`Error::TimedOut`] of a connection that is not established;
    /// [`Error::Unverified`] and [`Error::Disputed`] when the policy refuses it; [`Error::Registry`] when
    /// the machine is cut off from its fleet, whatever the policy; [`Error::ApiMisuse`] for an endpoint of
    /// the caller's with a registry that answers later.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time driver.
    #[tracing::instrument(name = "multipath_quic_accept", level = "debug", skip_all, fields(peer = %incoming.remote_address()))]
    pub async fn accept(&self, incoming: Incoming) -> Result<QuicConnection, Error> {
        let (sides, _) = self.inner.acceptor.parts();
        self.inner
            .accept(incoming)
            .await
            .inspect_err(|error| sides.notify(&Event::Failed(error)))
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        let (sides, _) = self.inner.acceptor.parts();
        sides.settings.handshake_timeout
    }

    pub(super) fn notify(&self, event: &Event<'_>) {
        let (sides, _) = self.inner.acceptor.parts();
        sides.notify(event);
    }
}

impl Inner {
    async fn accept(&self, incoming: Incoming) -> Result<QuicConnection, Error> {
        let (sides, authentication) = self.acceptor.parts();
        let settings = &sides.settings;
        let started = Instant::now();
        let peer = incoming.remote_address();
        let end = started + settings.handshake_timeout;
        let complete = timeout_at(end, self.handshake(incoming))
            .await
            .map_err(|_| Error::TimedOut(TimedOut::Handshake))?
            .map_err(|error| authentication.server_error(error))?;
        let connection = complete.watched.connection.clone();
        let alpn = alpn(&connection);
        let chain = peer_chain(&connection);
        let server_key = authentication.server_key();
        let report = TlsReport::of_quic(complete.negotiated, alpn.as_deref(), &chain, server_key);
        let times = Times {
            tls: Some(started.elapsed()),
            ..Times::default()
        };
        let evaluation = ServerEvaluation {
            policy: settings.policy,
            deadline: settings.deadline,
            started,
            peer,
            association: complete.association,
            times,
            inherits: None,
        };
        let handshaken = Handshaken {
            tls: complete.watched,
            tls13: true,
            report,
        };
        let stream = evaluation
            .hand_out(handshaken, complete.registration, sides, None)
            .await
            .inspect_err(|_| refuse(&connection))?;
        Ok(stream.into())
    }

    async fn handshake(&self, incoming: Incoming) -> Result<Complete, Error> {
        let (sides, _) = self.acceptor.parts();
        let (registrar, flight) = Registrar::new(Arc::clone(sides), Arc::clone(&self.gate));
        let registrar = Arc::new(registrar);
        let tls = self
            .tls
            .handshake(&self.acceptor.tls(), Arc::clone(&registrar))?;
        let mut config = self.config.clone();
        config.crypto = tls;
        let begun = self.begin(incoming, config, &registrar);
        let (watched, established) = begun.map_err(|error| not_established(error, None))?;
        let connection = watched.connection.clone();
        let flight = tokio::select! {
            Ok(flight) = flight => flight,
            error = connection.closed() => return Err(not_established(error, None)),
        };
        let FlightSent {
            association,
            negotiated,
            registering,
        } = flight;
        let registration = registering.finish().await?;
        // Its value is about 0-RTT, which is off.
        let _ = established.await;
        match connection.close_reason() {
            Some(error) => Err(not_established(error, None)),
            None => Ok(Complete {
                watched,
                association,
                negotiated,
                registration,
            }),
        }
    }

    /// Begins the handshake, and watches for the client's first data before any can be read.
    fn begin(
        &self,
        incoming: Incoming,
        config: ServerConfig,
        registrar: &Registrar,
    ) -> Result<(Watched, ZeroRttAccepted), quinn::ConnectionError> {
        let prefers = self.acceptor.parts().0.settings.policy == Policy::Prefer;
        if !prefers {
            registrar.let_finish();
        }
        let connecting = incoming.accept_with(Arc::new(config))?;
        // This never fails at a server. Nothing is sent on the connection before the verdict.
        let early = connecting.into_0rtt();
        let (connection, established) = early.map_err(|_| quinn::ConnectionError::LocallyClosed)?;
        // The verdict waits for the client's first data under this policy only.
        let first = prefers.then(|| FirstData::watch(connection.clone()));
        registrar.let_finish();
        let window = Some(self.receive_window);
        let watched = Watched {
            connection,
            first,
            window,
        };
        Ok((watched, established))
    }
}
