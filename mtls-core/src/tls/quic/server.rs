//! The server's handshake in QUIC.

use std::sync::{Arc, Mutex};

use quinn::ConnectionId;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{Keys, ServerConfig, Session, UnsupportedVersion};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{TransportError, TransportErrorCode};
use rustls::KeyLog;

use super::client::no_initial_suite;
use super::session::{ObservedSession, Observer};
use crate::error::Error;
use crate::proto::binding::{Association, SideSecrets};
use crate::proto::hello::{HelloTap, Negotiated};
use crate::proto::server::HandshakeKeys;
use crate::sync::lock;
use crate::tls::server::{CaptureExporter, TlsSettings};

/// Follows one handshake. It is called from quinn's own tasks, and must not block.
pub(crate) trait Follow: Send + Sync + 'static {
    /// The ClientHello is here, and TLS has not processed it yet.
    fn client_hello(&self, association: Association);

    /// The ServerHello is written, and nothing of it has left.
    fn first_flight(&self, flight: Flight);

    /// Whether the client's answer to the first flight may be processed: its application data can be
    /// read then. Called under quinn's lock of the connection, so it must not wait.
    fn may_finish(&self) -> bool;
}

/// A first flight that is ready to leave.
pub(crate) struct Flight {
    /// The handshake's name; `None` where the ClientHello could not be read.
    pub(crate) association: Option<Association>,
    /// The secrets to register under it.
    pub(crate) keys: HandshakeKeys,
    pub(crate) negotiated: Option<Negotiated>,
    /// The source connection ID of the server's packets of the handshake.
    pub(crate) source: Option<ConnectionId>,
}

/// A TLS configuration for one connection, whose handshake `follow` follows.
struct Tapped<F> {
    config: Arc<QuicServerConfig>,
    capture: Arc<CaptureExporter>,
    follow: Arc<F>,
}

struct Tap<F> {
    tap: HelloTap,
    capture: Arc<CaptureExporter>,
    follow: Arc<F>,
    source: Option<ConnectionId>,
    has_hello: bool,
    has_flight: bool,
}

/// The application protocols of a server's QUIC, and whether its TLS configuration can do QUIC.
pub(crate) struct QuicTls {
    alpn: Vec<Vec<u8>>,
    /// The settings that were checked last: they change when certificates are renewed.
    checked: Mutex<Option<Arc<TlsSettings>>>,
}

impl QuicTls {
    pub(crate) fn new(alpn: Vec<Vec<u8>>) -> Self {
        Self {
            alpn,
            checked: Mutex::new(None),
        }
    }

    /// A configuration for connections that are never accepted: quinn's endpoint wants one.
    pub(crate) fn template(
        &self,
        settings: &Arc<TlsSettings>,
    ) -> Result<Arc<dyn ServerConfig>, Error> {
        self.check(settings)?;
        Ok(Arc::new(quic_config(self.config(settings))?))
    }

    /// A configuration for one connection.
    pub(crate) fn handshake<F: Follow>(
        &self,
        settings: &Arc<TlsSettings>,
        follow: Arc<F>,
    ) -> Result<Arc<dyn ServerConfig>, Error> {
        self.check(settings)?;
        let mut config = self.config(settings);
        let capture = Arc::new(CaptureExporter::new(Arc::clone(&config.key_log)));
        config.key_log = Arc::clone(&capture) as Arc<dyn KeyLog>;
        Ok(Arc::new(Tapped {
            config: Arc::new(quic_config(config)?),
            capture,
            follow,
        }))
    }

    fn config(&self, settings: &TlsSettings) -> rustls::ServerConfig {
        let mut config = settings.config.clone();
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    /// quinn panics on a configuration without TLS 1.3.
    fn check(&self, settings: &Arc<TlsSettings>) -> Result<(), Error> {
        let mut checked = lock(&self.checked);
        if checked
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, settings))
        {
            return Ok(());
        }
        let config = Arc::new(settings.config.clone());
        let version = rustls::quic::Version::V1;
        rustls::quic::ServerConnection::new(config, version, Vec::new())?;
        *checked = Some(Arc::clone(settings));
        Ok(())
    }
}

fn quic_config(config: rustls::ServerConfig) -> Result<QuicServerConfig, Error> {
    QuicServerConfig::try_from(config).map_err(|_| no_initial_suite())
}

impl<F: Follow> ServerConfig for Tapped<F> {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.config.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.config.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let config = Arc::clone(&self.config) as Arc<dyn ServerConfig>;
        Box::new(ObservedSession {
            inner: config.start_session(version, params),
            observer: Tap {
                tap: HelloTap::new(),
                capture: Arc::clone(&self.capture),
                follow: Arc::clone(&self.follow),
                source: initial_source(params),
                has_hello: false,
                has_flight: false,
            },
        })
    }
}

impl<F: Follow> Observer for Tap<F> {
    fn read(
        &mut self,
        messages: &[u8],
        step: impl FnOnce() -> Result<bool, TransportError>,
    ) -> Result<bool, TransportError> {
        // rustls evaluates bytes that the tap refuses: then there is no hello binding.
        let _ = self.tap.client_crypto(messages);
        if let (Some(association), false) = (self.tap.association(), self.has_hello) {
            self.has_hello = true;
            self.follow.client_hello(association);
        }
        if self.has_flight && !self.follow.may_finish() {
            return Err(TransportError {
                code: TransportErrorCode::CONNECTION_REFUSED,
                frame: None,
                reason: "the server is not ready".into(),
            });
        }
        step()
    }

    fn written(&mut self, messages: &[u8]) {
        if self.has_flight {
            return;
        }
        // rustls evaluates bytes that the tap refuses: then there is no hello binding.
        let _ = self.tap.server_crypto(messages);
        // rustls computes the whole flight before it writes the ServerHello. A HelloRetryRequest has
        // no exporter.
        let Some(exporter) = self.capture.take() else {
            return;
        };
        self.has_flight = true;
        self.follow.first_flight(Flight {
            association: self.tap.association(),
            keys: HandshakeKeys::Tls13(SideSecrets {
                exporter: Some(exporter),
                hello: self.tap.hello().map(|hello| hello.side_secret()),
            }),
            negotiated: self.tap.negotiated(),
            source: self.source,
        });
    }
}

/// `initial_source_connection_id` (RFC 9000, section 18.2), which quinn's parameters show only as they
/// are encoded: `id | length | value` each.
fn initial_source(params: &TransportParameters) -> Option<ConnectionId> {
    const INITIAL_SOURCE: u64 = 0x0f;
    let mut encoded = Vec::new();
    params.write(&mut encoded);
    let mut rest = &encoded[..];
    while !rest.is_empty() {
        let id = take_varint(&mut rest)?;
        let length = usize::try_from(take_varint(&mut rest)?).ok()?;
        let (value, after) = rest.split_at_checked(length)?;
        if id == INITIAL_SOURCE {
            return (value.len() <= MAX_CID_LEN).then(|| ConnectionId::new(value));
        }
        rest = after;
    }
    None
}

/// RFC 9000, section 17.2.
const MAX_CID_LEN: usize = 20;

/// A variable-length integer (RFC 9000, section 16).
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let length = 1 << (rest.first()? >> 6);
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    let first = u64::from(bytes[0] & 0x3f);
    Some(
        bytes[1..]
            .iter()
            .fold(first, |value, byte| value << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_length_integers_are_those_of_rfc_9000() {
        // Appendix A.1.
        let mut rest: &[u8] = &[0x9d, 0x7f, 0x3e, 0x7d, 0x7b, 0xbd, 0x25, 0x40];
        assert_eq!(take_varint(&mut rest), Some(494_878_333));
        assert_eq!(take_varint(&mut rest), Some(15_293));
        assert_eq!(take_varint(&mut rest), Some(37));
        assert_eq!(take_varint(&mut rest), None, "the second byte is missing");
        assert_eq!(take_varint(&mut &[][..]), None);
    }
}
