//! The client's handshake in QUIC.

use std::sync::{Arc, Mutex};

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::crypto::{ClientConfig, Session};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, TransportError};
use rustls::pki_types::CertificateDer;

use super::session::{ObservedSession, Observer};
use crate::error::Error;
use crate::proto::binding::{Association, SideSecret};
use crate::proto::hello::{HelloTap, Negotiated};
use crate::sync::lock;
use crate::tls::client::{ClientSecrets, TlsSettings};
use crate::tls::server_signature::{Recorded, recorded_step};
use crate::tls::tickets::Quarantine;
use crate::verdict::evidence::ServerSignature;

/// The TLS configuration of one connection, and a view of its handshake.
pub(crate) struct ClientHandshake {
    pub(crate) crypto: Arc<dyn ClientConfig>,
    pub(crate) view: ClientView,
    pub(crate) quarantine: Option<Arc<Quarantine>>,
}

/// Facts of one handshake, while it is under way.
#[derive(Clone, Default)]
pub(crate) struct ClientView(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    tap: HelloTap,
    recorded: Recorded,
}

/// A complete handshake.
pub(crate) struct QuicComplete {
    pub(crate) secrets: ClientSecrets,
    pub(crate) negotiated: Option<Negotiated>,
    pub(crate) signature: Option<ServerSignature>,
}

struct Tapped {
    config: Arc<QuicClientConfig>,
    view: ClientView,
}

impl TlsSettings {
    /// The same settings for QUIC: these application protocols, and a ticket store of its own for this
    /// many servers.
    pub(crate) fn for_quic(&self, alpn: &[Vec<u8>], tickets: usize) -> Result<Self, Error> {
        let mut config = (*self.config).clone();
        config.alpn_protocols = alpn.to_vec();
        let settings = Self::new(&config, tickets, None, false);
        settings.check_quic()?;
        Ok(settings)
    }

    /// quinn panics on a configuration without TLS 1.3.
    fn check_quic(&self) -> Result<(), Error> {
        QuicClientConfig::try_from(Arc::clone(&self.config)).map_err(|_| no_initial_suite())?;
        let name = rustls::pki_types::ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
        let version = rustls::quic::Version::V1;
        rustls::quic::ClientConnection::new(Arc::clone(&self.config), version, name, Vec::new())?;
        Ok(())
    }

    /// A configuration for one connection, of which quinn builds the ClientHello.
    pub(crate) fn quic_handshake(&self) -> Result<ClientHandshake, Error> {
        let (config, quarantine) = self.quarantined(None);
        let config = QuicClientConfig::try_from(config).map_err(|_| no_initial_suite())?;
        let view = ClientView::default();
        let tapped = Tapped {
            config: Arc::new(config),
            view: view.clone(),
        };
        Ok(ClientHandshake {
            crypto: Arc::new(tapped),
            view,
            quarantine,
        })
    }
}

/// QUIC's first packets are protected by this suite (RFC 9001, section 5).
pub(super) fn no_initial_suite() -> Error {
    rustls::Error::General(
        "QUIC needs the cipher suite TLS13_AES_128_GCM_SHA256, which the provider lacks".into(),
    )
    .into()
}

impl ClientConfig for Tapped {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = Arc::clone(&self.config).start_session(version, server_name, params)?;
        let observer = self.view.clone();
        Ok(Box::new(ObservedSession { inner, observer }))
    }
}

impl Observer for ClientView {
    fn read(
        &mut self,
        messages: &[u8],
        step: impl FnOnce() -> Result<bool, TransportError>,
    ) -> Result<bool, TransportError> {
        // rustls evaluates bytes that the tap refuses: then there is no hello binding.
        let _ = lock(&self.0).tap.server_crypto(messages);
        let (result, new) = recorded_step(step);
        let recorded = &mut lock(&self.0).recorded;
        recorded.signature = new.signature.or(recorded.signature.take());
        recorded.error = new.error.or(recorded.error.take());
        result
    }

    fn written(&mut self, messages: &[u8]) {
        let _ = lock(&self.0).tap.client_crypto(messages);
    }
}

impl ClientView {
    /// The handshake's name, when the ClientHello is written.
    pub(crate) fn association(&self) -> Option<Association> {
        lock(&self.0).tap.association()
    }

    /// The reason for which the server's certificate was refused, if the configuration's verifier is a
    /// [`RecordingVerifier`](crate::RecordingVerifier).
    pub(crate) fn certificate_error(&self) -> Option<rustls::Error> {
        lock(&self.0).recorded.error.clone()
    }

    /// Ends the view with a complete handshake.
    pub(crate) fn complete(&self, connection: &quinn::Connection) -> QuicComplete {
        let Seen { tap, recorded } = std::mem::take(&mut *lock(&self.0));
        let mut exporter = [0; SideSecret::LEN];
        let label = SideSecret::exporter_label();
        let exported = connection.export_keying_material(&mut exporter, label, &[]);
        QuicComplete {
            negotiated: tap.negotiated(),
            secrets: ClientSecrets::of_quic(exported.ok().map(|()| SideSecret::new(exporter)), tap),
            signature: recorded.signature,
        }
    }
}

/// The application protocol that was agreed on.
pub(crate) fn alpn(connection: &quinn::Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?;
    data.downcast::<HandshakeData>().ok()?.protocol
}

/// The certificates of the peer, the leaf first.
pub(crate) fn peer_chain(connection: &quinn::Connection) -> Vec<CertificateDer<'static>> {
    let identity = connection.peer_identity();
    let chain = identity.and_then(|identity| identity.downcast().ok());
    chain.map_or_else(Vec::new, |chain| *chain)
}
