//! Ticket keys: rustls's own, and those that do what rustls's own do not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::server::ProducesTickets;
use rustls::{ClientConfig, ClientConnection, NamedGroup, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::{HOST, ask};

pub(crate) type TicketKey = Arc<dyn ProducesTickets>;

/// A new ticket key.
pub(crate) fn ticket_key() -> TicketKey {
    aws_lc_rs::Ticketer::new().expect("a ticket key")
}

/// Stateless tickets under this key.
pub(crate) fn with_key(mut config: ServerConfig, key: &TicketKey) -> ServerConfig {
    config.ticketer = Arc::clone(key);
    config
}

/// Stateless tickets under a key of its own.
pub(crate) fn stateless(config: ServerConfig) -> ServerConfig {
    with_key(config, &ticket_key())
}

pub(crate) fn without_tickets(mut config: ServerConfig) -> ServerConfig {
    config.send_tls13_tickets = 0;
    config
}

/// Hands out tickets and resumes none, as nginx does with `ssl_session_tickets off` and no cache.
pub(crate) fn useless(config: ServerConfig) -> ServerConfig {
    with_key(
        config,
        &(Arc::new(Fixed(b"a useless ticket".to_vec())) as TicketKey),
    )
}

/// Every ticket is this one, and none can be opened.
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) Vec<u8>);

impl ProducesTickets for Fixed {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        3600
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Resumes every second of the sessions that are offered.
#[derive(Debug)]
pub(crate) struct Sometimes {
    key: TicketKey,
    opened: Mutex<usize>,
}

impl Sometimes {
    pub(crate) fn new() -> Self {
        Self {
            key: ticket_key(),
            opened: Mutex::new(0),
        }
    }
}

impl ProducesTickets for Sometimes {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.key.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.key.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.key.decrypt(cipher)?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        *opened += 1;
        opened.is_multiple_of(2).then_some(plain)
    }
}

/// A genuine ticket of this server: the bytes that its NewSessionTicket carried to an attacker.
pub(crate) async fn genuine_ticket(config: ClientConfig, server: SocketAddr) -> Vec<u8> {
    let store = Arc::new(OneTicket::default());
    let mut config = config;
    config.resumption = Resumption::store(Arc::clone(&store) as Arc<_>);
    let config = Arc::new(config);
    let name: ServerName<'static> = HOST.try_into().expect("a name");
    let tcp = TcpStream::connect(server).await.expect("to connect");
    let connector = TlsConnector::from(Arc::clone(&config));
    let mut tls = connector.connect(name.clone(), tcp).await.expect("TLS");
    ask(&mut tls)
        .await
        .expect("an answer, and the ticket before it");
    // A ClientHello that offers the ticket carries its bytes.
    let mut again = ClientConnection::new(config, name).expect("a connection");
    let mut hello = Vec::new();
    again.write_tls(&mut hello).expect("a hello");
    offered_ticket(&hello).expect("a ticket in the ClientHello")
}

/// The first identity in the extension `pre_shared_key` (RFC 8446, section 4.2.11), which is the
/// last one of a ClientHello.
fn offered_ticket(record: &[u8]) -> Option<Vec<u8>> {
    const PRE_SHARED_KEY: u16 = 41;
    let mut rest = record.get(5 + 4 + 2 + 32..)?;
    let take = |rest: &mut &[u8], length_bytes: usize| -> Option<Vec<u8>> {
        let (length, after) = rest.split_at_checked(length_bytes)?;
        let length = length
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (value, after) = after.split_at_checked(length)?;
        *rest = after;
        Some(value.to_vec())
    };
    take(&mut rest, 1)?; // session ID
    take(&mut rest, 2)?; // cipher suites
    take(&mut rest, 1)?; // compression methods
    let extensions = take(&mut rest, 2)?;
    let mut rest = extensions.as_slice();
    while let Some((kind, after)) = rest.split_at_checked(2) {
        rest = after;
        let body = take(&mut rest, 2)?;
        if kind == PRE_SHARED_KEY.to_be_bytes() {
            let identities = take(&mut body.as_slice(), 2)?;
            return take(&mut identities.as_slice(), 2);
        }
    }
    None
}

/// Keeps the last ticket.
#[derive(Debug, Default)]
struct OneTicket(Mutex<Option<Tls13ClientSessionValue>>);

impl ClientSessionStore for OneTicket {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
