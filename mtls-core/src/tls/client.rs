//! The client's TLS handshake: rustls does all of it, and its hellos are tapped on the way.

use std::sync::{Arc, OnceLock};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption,
};
use rustls::crypto::{CryptoProvider, SecureRandom};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::descent::{DescendedTickets, Descent, Peer, Prefetched};
use super::io::{feed, read_some, read_until, take_output};
use super::server_signature::recorded;
use super::ticket::Ticket;
use super::tickets::{Descended, Quarantine};
use crate::error::Error;
use crate::path::Endpoint;
use crate::proto::binding::{Association, Binding, SideContext, SideSecret, Values};
use crate::proto::client::TlsVersion;
use crate::proto::hello::HelloTap;
use crate::verdict::evidence::ServerSignature;

/// rustls counts tickets, and keeps this many of one server.
const TICKETS_PER_SERVER: usize = 8;

/// A caller's configuration, made fit: a ticket store of the connector's own, and no early data.
pub(crate) struct TlsSettings {
    pub(super) config: Arc<ClientConfig>,
    /// The configuration without the client's certificate, if it has one.
    pub(super) anonymous: Option<ClientConfig>,
    tickets: Option<Arc<dyn ClientSessionStore>>,
    descended: Option<Arc<DescendedTickets>>,
    keeps_tickets: bool,
    pub(super) stub: Stub,
}

/// tokio-rustls makes a connection of its own before it takes ours; this is the configuration of
/// that one.
#[derive(Clone)]
pub(super) struct Stub(TlsConnector);

/// A handshake whose ClientHello is ready to leave.
pub(crate) struct ClientHello {
    connection: ClientConnection,
    stub: Stub,
    name: ServerName<'static>,
    tap: HelloTap,
    first_flight: Vec<u8>,
    association: Association,
    quarantine: Option<Arc<Quarantine>>,
}

/// A complete handshake.
pub(crate) struct Complete<IO> {
    pub(crate) tls: TlsStream<IO>,
    pub(crate) secrets: ClientSecrets,
    pub(crate) quarantine: Option<Arc<Quarantine>>,
    /// The server's signature, where the verifier keeps it.
    pub(crate) signature: Option<ServerSignature>,
}

impl TlsSettings {
    /// Remembers the tickets of this many servers, or those that descend from verified connections
    /// in `descended`. Where `keeps_tickets` is set, those of each connection are kept for its
    /// verification too.
    pub(crate) fn new(
        config: &ClientConfig,
        tickets: usize,
        descended: Option<DescendedTickets>,
        keeps_tickets: bool,
    ) -> Self {
        let keeps_tickets = keeps_tickets || descended.is_some();
        let mut config = config.clone();
        config.enable_early_data = false;
        let tickets = (tickets > 0).then(|| {
            let size = tickets.saturating_mul(TICKETS_PER_SERVER);
            Arc::new(ClientSessionMemoryCache::new(size)) as Arc<dyn ClientSessionStore>
        });
        if tickets.is_none() && !keeps_tickets {
            config.resumption = Resumption::disabled();
        }
        Self {
            stub: Stub(stub_connector(&config)),
            anonymous: anonymous(&config),
            config: Arc::new(config),
            tickets,
            descended: descended.map(Arc::new),
            keeps_tickets,
        }
    }

    /// The random generator of the configuration's provider.
    pub(crate) fn random(&self) -> &'static dyn SecureRandom {
        self.config.crypto_provider().secure_random
    }

    /// Builds the ClientHello, before any connection is up.
    pub(crate) fn client_hello(
        &self,
        name: ServerName<'static>,
        side_endpoint: &Endpoint,
    ) -> Result<ClientHello, Error> {
        let descended = self.descended.as_ref().map(|tickets| {
            let peer = Peer::new(&name, side_endpoint);
            Descended::of(Arc::clone(tickets), peer)
        });
        let (config, quarantine) = self.quarantined(descended);
        let mut connection = ClientConnection::new(config, name.clone())?;
        let mut tap = HelloTap::new();
        let first_flight = take_output(&mut connection)?;
        let association = association_of(&mut tap, &first_flight)?;
        Ok(ClientHello {
            connection,
            stub: self.stub.clone(),
            name,
            tap,
            first_flight,
            association,
            quarantine,
        })
    }

    /// A configuration for one connection, whose tickets are held back until it is verified.
    pub(super) fn quarantined(
        &self,
        descended: Option<Descended>,
    ) -> (Arc<ClientConfig>, Option<Arc<Quarantine>>) {
        let mut config = Arc::clone(&self.config);
        let quarantine = (self.tickets.is_some() || self.keeps_tickets)
            .then(|| Arc::new(Quarantine::new(self.tickets.clone(), descended)));
        if let Some(quarantine) = &quarantine {
            let own = Arc::make_mut(&mut config);
            own.resumption = Resumption::store(Arc::clone(quarantine) as Arc<_>);
        }
        (config, quarantine)
    }

    /// Keeps tickets that were fetched over a side path.
    pub(crate) fn keep_prefetched(&self, peer: &Peer, tickets: Vec<Ticket>, made: Prefetched) {
        let made = Arc::new(made);
        if let Some(descended) = &self.descended {
            for ticket in tickets {
                descended.insert(peer, ticket, Descent::Prefetched(Arc::clone(&made)));
            }
        }
    }

    /// Whether tickets are kept with their descent.
    pub(crate) fn keeps_descended(&self) -> bool {
        self.descended.is_some()
    }

    /// Whether the configuration has a certificate of the client.
    pub(crate) fn has_client_certificate(&self) -> bool {
        self.anonymous.is_some()
    }
}

/// The name of the handshake that these bytes begin.
pub(super) fn association_of(
    tap: &mut HelloTap,
    first_flight: &[u8],
) -> Result<Association, Error> {
    let read = tap.client_bytes(first_flight);
    let association = read.ok().and_then(|()| tap.association());
    let missing = || rustls::Error::General("the TLS stack wrote no ClientHello".into());
    Ok(association.ok_or_else(missing)?)
}

impl ClientHello {
    pub(crate) fn association(&self) -> Association {
        self.association
    }

    /// The descent of the ticket that it offers.
    pub(crate) fn descent(&self) -> Option<Descent> {
        self.quarantine.as_ref()?.offered()
    }

    /// Sends the ClientHello and completes the handshake.
    ///
    /// The hellos are moved by hand, so that they can be tapped; from the ServerHello on
    /// tokio-rustls does the rest, and no wrapper stays behind.
    pub(crate) async fn complete<IO>(self, io: IO) -> Result<Complete<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (complete, signature) = recorded(self.handshake(io)).await;
        let complete = complete?;
        Ok(Complete {
            signature,
            ..complete
        })
    }

    async fn handshake<IO>(mut self, mut io: IO) -> Result<Complete<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        io.write_all(&self.first_flight).await?;
        io.flush().await?;
        self.exchange_hellos(&mut io).await?;
        let connection = self.connection;
        let tls = self.stub.hand_over(self.name, connection, io).await?;
        Ok(Complete {
            secrets: ClientSecrets::new(tls.get_ref().1, self.tap),
            tls,
            quarantine: self.quarantine,
            signature: None,
        })
    }

    /// Until the ServerHello has been seen, or the tap has given up: then there is no hello
    /// binding, and rustls decides about the rest alone.
    async fn exchange_hellos<IO>(&mut self, io: &mut IO) -> Result<(), Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut tapping = true;
        while tapping && !self.tap.is_complete() && self.connection.is_handshaking() {
            let received = read_some(io).await?;
            tapping = !received.is_empty() && self.tap.server_bytes(&received).is_ok();
            let fed = feed(&mut self.connection, &received);
            if let Err(error) = fed {
                // The alert says why; the error is what counts, whether it arrives or not.
                let alert = take_output(&mut self.connection)?;
                let _ = io.write_all(&alert).await;
                return Err(error);
            }
            // After the ServerHello there may be output too, which is tokio-rustls's to write.
            if !self.tap.is_complete() {
                let output = take_output(&mut self.connection)?;
                tapping = tapping && self.tap.client_bytes(&output).is_ok();
                io.write_all(&output).await?;
                io.flush().await?;
            }
        }
        Ok(())
    }
}

#[cfg(feature = "mptcp")]
impl<A> Complete<A> {
    /// Moves the connection to the stream that `take` makes of its own, with bytes that have arrived
    /// already.
    pub(crate) async fn moved<B>(
        self,
        settings: &TlsSettings,
        name: ServerName<'static>,
        take: impl FnOnce(A) -> (B, Vec<u8>),
    ) -> Result<Complete<B>, Error>
    where
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let (io, mut connection) = self.tls.into_inner();
        let (io, received) = take(io);
        feed(&mut connection, &received)?;
        Ok(Complete {
            tls: settings.stub.hand_over(name, connection, io).await?,
            secrets: self.secrets,
            quarantine: self.quarantine,
            signature: self.signature,
        })
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Complete<IO> {
    /// Waits until the connection has brought this many tickets, has closed, or has so much
    /// application data that no more can be read. The data stays in the stream. Safe to drop.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn wait_for_tickets(&mut self, count: usize) -> Result<(), Error> {
        let Some(quarantine) = &self.quarantine else {
            return Ok(());
        };
        let (io, connection) = self.tls.get_mut();
        read_until(connection, io, || quarantine.tickets() >= count).await
    }

    /// Takes up to `count` of the tickets that the connection has brought.
    pub(crate) fn take_tickets(&self, count: usize) -> Vec<Ticket> {
        let quarantine = self.quarantine.as_ref();
        quarantine.map_or_else(Vec::new, |quarantine| quarantine.take_tickets(count))
    }
}

impl Stub {
    /// Completes a handshake by tokio-rustls.
    pub(super) async fn hand_over<IO>(
        &self,
        name: ServerName<'static>,
        connection: ClientConnection,
        io: IO,
    ) -> Result<TlsStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Self(connector) = self;
        let stream = connector.connect_with(name, io, |place| *place = connection);
        Ok(stream.await?)
    }
}

/// The configuration without the client's certificate; `None` if it has none.
fn anonymous(config: &ClientConfig) -> Option<ClientConfig> {
    config.client_auth_cert_resolver.has_certs().then(|| {
        let mut anonymous = config.clone();
        anonymous.client_auth_cert_resolver = Arc::new(NoClientCertificate);
        anonymous
    })
}

/// Shows no certificate.
#[derive(Debug)]
struct NoClientCertificate;

impl ResolvesClientCert for NoClientCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// The side secrets of a complete handshake.
///
/// The secret of the hello binding is derived when it is first needed: it hashes the hellos, and a
/// server that holds keys chooses the exporter.
#[derive(Default)]
pub(crate) struct ClientSecrets {
    exporter: Option<SideSecret>,
    hello: OnceLock<Option<SideSecret>>,
    tap: HelloTap,
}

impl ClientSecrets {
    /// An older version than TLS 1.3 has none: its exporter does not bind the whole transcript.
    pub(super) fn new(tls: &ClientConnection, tap: HelloTap) -> Self {
        if version(tls) == TlsVersion::Older {
            return Self::default();
        }
        let label = SideSecret::exporter_label();
        let export = tls.export_keying_material([0; SideSecret::LEN], label, None);
        Self {
            exporter: export.ok().map(SideSecret::new),
            hello: OnceLock::new(),
            tap,
        }
    }

    /// Those of a handshake of TLS 1.3 in QUIC.
    #[cfg(feature = "quic")]
    pub(super) fn of_quic(exporter: Option<SideSecret>, tap: HelloTap) -> Self {
        Self {
            exporter,
            hello: OnceLock::new(),
            tap,
        }
    }

    /// The values of both roles for one side path; `None` where this end lacks the secret.
    pub(crate) fn values(&self, binding: Binding, context: &SideContext) -> Option<Values> {
        let hello = || self.tap.hello().map(|hello| hello.side_secret());
        let secret = match binding {
            Binding::Exporter => self.exporter.as_ref(),
            Binding::Hello => self.hello.get_or_init(hello).as_ref(),
        };
        Some(secret?.values(context))
    }
}

/// The secrets of an end that holds no keys.
impl From<SideSecret> for ClientSecrets {
    fn from(hello: SideSecret) -> Self {
        Self {
            hello: OnceLock::from(Some(hello)),
            ..Self::default()
        }
    }
}

/// The version that a complete handshake ended with.
pub(crate) fn version(connection: &ClientConnection) -> TlsVersion {
    match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
        _ => TlsVersion::Older,
    }
}

/// Whether a complete handshake resumed an older session.
pub(crate) fn is_resumed(connection: &ClientConnection) -> bool {
    connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
}

/// tokio-rustls makes a connection of its own before it takes ours. One that offers TLS 1.2
/// generates no key shares, so it costs next to nothing; it is dropped before it is used.
fn stub_connector(config: &ClientConfig) -> TlsConnector {
    let provider: Arc<CryptoProvider> = Arc::clone(config.crypto_provider());
    let cheap = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .map(|builder| {
            builder
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth()
        });
    // A provider without TLS 1.2 pays for a key share that is not used.
    TlsConnector::from(Arc::new(cheap.unwrap_or_else(|_| config.clone())))
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    fn server(number: usize) -> ServerName<'static> {
        ServerName::try_from(format!("server-{number}.test")).expect("a name")
    }

    #[test]
    fn as_many_servers_are_remembered_as_were_asked_for() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let settings = TlsSettings::new(&config, 10, None, false);
        let store = settings.tickets.expect("a store");
        for number in 0..11 {
            store.set_kx_hint(server(number), NamedGroup::X25519);
        }
        let known = |number| store.kx_hint(&server(number)).is_some();
        assert!((1..11).all(known));
        assert!(!known(0), "the eleventh takes the place of the first");
    }
}
