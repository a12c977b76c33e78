//! A client's handshake that offers one session ticket, for verification by resumption
//! (`docs/protocol.md`, section 11). Its bytes are moved by hand: the second flight, and with it
//! the client's certificate, leaves only when the caller knows what the server has answered.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption,
    Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::{
    ClientSecrets, Complete, Stub, TlsSettings, association_of, is_resumed, version,
};
use super::io::{poll_read_tls, read_until, take_output};
use super::server_signature::recorded;
use super::ticket::Ticket;
use super::tickets::{MAX_WITHHELD, Quarantine};
use crate::error::Error;
use crate::http_io::{LINGER, linger};
use crate::proto::binding::Association;
use crate::proto::client::TlsVersion;
use crate::proto::hello::HelloTap;
use crate::sync::lock;
use crate::verdict::evidence::ServerSignature;

/// A handshake whose ClientHello is ready to leave.
pub(crate) struct TicketHandshake {
    connection: ClientConnection,
    sessions: Arc<OfferedTicket>,
    stub: Stub,
    name: ServerName<'static>,
    first_flight: Vec<u8>,
    association: Association,
    offers_ticket: bool,
    withholds_certificate: bool,
    signature: Option<ServerSignature>,
}

/// The session that a handshake offers.
pub(crate) struct Offer {
    pub(crate) ticket: Option<Ticket>,
    /// The key-exchange group that the server chose before.
    pub(crate) group: Option<NamedGroup>,
    /// Whether the client's certificate is shown where the server demands it. A ticket can be
    /// resumed only by a handshake of the same kind as the one that brought it.
    pub(crate) shows_certificate: bool,
}

/// Reason of a handshake without a result.
#[derive(Debug)]
pub(crate) enum TicketFailure {
    /// The alert `illegal_parameter` or `decrypt_error` in answer to a ticket.
    Disputed,
    /// The connection ended, or the handshake would have shown the client's certificate.
    Ended,
    /// TLS failed.
    Tls(rustls::Error),
}

impl TlsSettings {
    /// Builds a ClientHello for a handshake that is driven by hand.
    pub(crate) fn ticket_handshake(
        &self,
        name: ServerName<'static>,
        offer: Offer,
    ) -> Result<TicketHandshake, Error> {
        let config: &ClientConfig = match &self.anonymous {
            Some(anonymous) if !offer.shows_certificate => anonymous,
            _ => &self.config,
        };
        TicketHandshake::new(config.clone(), name, self.stub.clone(), offer)
    }
}

impl TicketHandshake {
    fn new(
        mut config: ClientConfig,
        name: ServerName<'static>,
        stub: Stub,
        offer: Offer,
    ) -> Result<Self, Error> {
        let offers_ticket = offer.ticket.is_some();
        let sessions = Arc::new(OfferedTicket::new(offer.ticket, offer.group));
        config.resumption = Resumption::store(Arc::clone(&sessions) as Arc<_>)
            .tls12_resumption(Tls12Resumption::Disabled);
        let withholds_certificate = config.client_auth_cert_resolver.has_certs();
        let mut connection = ClientConnection::new(Arc::new(config), name.clone())?;
        let first_flight = take_output(&mut connection)?;
        Ok(Self {
            association: association_of(&mut HelloTap::new(), &first_flight)?,
            connection,
            sessions,
            stub,
            name,
            first_flight,
            offers_ticket,
            withholds_certificate,
            signature: None,
        })
    }

    /// Sends the ClientHello, and reads until the server's Finished has been verified. The second
    /// flight is not sent.
    pub(crate) async fn run<IO>(&mut self, io: &mut IO) -> Result<(), TicketFailure>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (result, signature) = recorded(self.handshake(io)).await;
        self.signature = signature;
        result
    }

    async fn handshake<IO>(&mut self, io: &mut IO) -> Result<(), TicketFailure>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        send(io, &self.first_flight).await?;
        while self.connection.is_handshaking() {
            let read = poll_fn(|cx| poll_read_tls(&mut self.connection, io, cx)).await;
            if !matches!(read, Ok(1..)) {
                return Err(TicketFailure::Ended);
            }
            if let Err(error) = self.connection.process_new_packets() {
                let alert = take_output(&mut self.connection).unwrap_or_default();
                let _ = send(io, &alert).await;
                return Err(self.failure(error));
            }
            if self.connection.is_handshaking() {
                self.send_hello_again(io).await?;
            }
        }
        Ok(())
    }

    /// Sends what comes before the second flight. In TLS 1.2 there is nothing before it.
    async fn send_hello_again<IO>(&mut self, io: &mut IO) -> Result<(), TicketFailure>
    where
        IO: AsyncWrite + Unpin,
    {
        let version = self.connection.protocol_version();
        if self.withholds_certificate && version == Some(ProtocolVersion::TLSv1_2) {
            return Err(TicketFailure::Ended);
        }
        self.flush(io).await
    }

    fn failure(&self, error: rustls::Error) -> TicketFailure {
        match error {
            rustls::Error::AlertReceived(
                AlertDescription::IllegalParameter | AlertDescription::DecryptError,
            ) if self.offers_ticket => TicketFailure::Disputed,
            error => TicketFailure::Tls(error),
        }
    }

    /// Whether the server has resumed the ticket's session, in a TLS 1.3 handshake that is complete.
    pub(crate) fn is_resumed(&self) -> bool {
        let tls = &self.connection;
        is_resumed(tls) && version(tls) == TlsVersion::Tls13 && !tls.is_handshaking()
    }

    /// Whether it also agreed on this application protocol.
    pub(crate) fn is_resumed_with(&self, alpn: Option<&[u8]>) -> bool {
        self.is_resumed() && self.connection.alpn_protocol() == alpn
    }

    /// Whether the server has made a full handshake, and so shown its certificates.
    pub(crate) fn is_full(&self) -> bool {
        let kind = self.connection.handshake_kind();
        !matches!(kind, None | Some(HandshakeKind::Resumed))
    }

    /// The certificates that the server showed in a full handshake.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.connection.peer_certificates().unwrap_or_default();
        chain.iter().map(|der| der.clone().into_owned()).collect()
    }

    /// The server's signature of a full handshake, where the verifier keeps it.
    pub(crate) fn signature(&self) -> Option<&ServerSignature> {
        self.signature.as_ref()
    }

    /// Whether the handshake offered a ticket.
    pub(crate) fn offers_ticket(&self) -> bool {
        self.offers_ticket
    }

    /// The application protocol that was agreed on.
    pub(crate) fn alpn(&self) -> Option<Vec<u8>> {
        self.connection.alpn_protocol().map(<[u8]>::to_vec)
    }

    pub(crate) fn association(&self) -> Association {
        self.association
    }

    /// Sends the second flight, and waits for tickets until `limit`.
    pub(crate) async fn fetch_tickets<IO>(&mut self, io: &mut IO, limit: Instant) -> Vec<Ticket>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if self.flush(io).await.is_ok() {
            let sessions = Arc::clone(&self.sessions);
            let enough = || sessions.received() > 0;
            // A server that closes, or sends nothing in time, has no tickets for this client.
            let _ = timeout_at(limit, read_until(&mut self.connection, io, enough)).await;
        }
        std::mem::take(&mut *self.sessions.lock_received())
    }

    /// Waits for tickets as [`fetch_tickets`](Self::fetch_tickets) does, adds them to those of the
    /// connection whose session this one resumed, and closes.
    pub(crate) async fn keep_tickets<IO>(
        mut self,
        mut io: IO,
        quarantine: Arc<Quarantine>,
        limit: Instant,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let tickets = self.fetch_tickets(&mut io, limit).await;
        quarantine.add(&self.name, tickets);
        self.close(io).await;
    }

    /// Sends the second flight and close_notify, which servers log as an ordinary end.
    pub(crate) async fn finish<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
    ) -> Result<(), TicketFailure> {
        self.connection.send_close_notify();
        self.flush(io).await
    }

    /// Withholds tickets, and lets the server read them.
    pub(crate) async fn close<IO>(mut self, mut io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if let Ok(Ok(())) = timeout(LINGER, self.finish(&mut io)).await {
            linger(io).await;
        }
    }

    /// Sends the second flight, and hands out the connection for the application.
    pub(crate) async fn into_stream<IO>(self, io: IO) -> Result<Complete<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let tls = self.stub.hand_over(self.name, self.connection, io).await?;
        Ok(Complete {
            secrets: ClientSecrets::new(tls.get_ref().1, HelloTap::new()),
            tls,
            quarantine: None,
            signature: self.signature,
        })
    }

    async fn flush<IO: AsyncWrite + Unpin>(&mut self, io: &mut IO) -> Result<(), TicketFailure> {
        let output = take_output(&mut self.connection).map_err(|_| TicketFailure::Ended)?;
        send(io, &output).await
    }
}

async fn send<IO: AsyncWrite + Unpin>(io: &mut IO, bytes: &[u8]) -> Result<(), TicketFailure> {
    let sent = async {
        io.write_all(bytes).await?;
        io.flush().await
    };
    sent.await.map_err(|_: io::Error| TicketFailure::Ended)
}

/// The store of one handshake: offers one ticket, and keeps those that arrive.
struct OfferedTicket {
    offered: Mutex<Option<Ticket>>,
    received: Mutex<Vec<Ticket>>,
    group: Option<NamedGroup>,
}

impl OfferedTicket {
    fn new(ticket: Option<Ticket>, group: Option<NamedGroup>) -> Self {
        Self {
            offered: Mutex::new(ticket),
            received: Mutex::default(),
            group,
        }
    }

    fn received(&self) -> usize {
        self.lock_received().len()
    }

    fn lock_received(&self) -> MutexGuard<'_, Vec<Ticket>> {
        lock(&self.received)
    }
}

impl std::fmt::Debug for OfferedTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OfferedTicket(..)")
    }
}

impl ClientSessionStore for OfferedTicket {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut received = self.lock_received();
        if received.len() < MAX_WITHHELD {
            received.push(Ticket(Box::new(ticket)));
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut offered = lock(&self.offered);
        offered.take().map(|Ticket(ticket)| *ticket)
    }
}
