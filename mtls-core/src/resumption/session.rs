//! The primary connection's part in a verification by resumption.

use std::time::Duration;

use rustls::NamedGroup;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::tls::client::Complete;
use crate::tls::ticket::Ticket;
use crate::verdict::public_key;

/// The time that a server has for a ticket, beyond that of two handshakes.
const TICKET_GRACE: Duration = Duration::from_millis(100);

/// The session of the primary connection.
pub(crate) struct PrimarySession {
    pub(super) key: Option<Vec<u8>>,
    pub(super) alpn: Option<Vec<u8>>,
    pub(super) group: Option<NamedGroup>,
    tickets: Vec<Ticket>,
}

impl PrimarySession {
    /// Waits for this many tickets of a connection whose handshake took `handshake`. Application
    /// data that arrives meanwhile stays in the stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn of<IO>(
        complete: &mut Complete<IO>,
        tickets: usize,
        handshake: Duration,
        deadline: Instant,
    ) -> Result<Self, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = deadline.min(Instant::now() + ticket_wait(handshake));
        // A server that sends none in time has none.
        if let Ok(waited) = timeout_at(limit, complete.wait_for_tickets(tickets)).await {
            waited?;
        }
        let (_, tls) = complete.tls.get_ref();
        Ok(Self {
            key: public_key(tls.peer_certificates().unwrap_or_default()),
            alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
            group: tls
                .negotiated_key_exchange_group()
                .map(|group| group.name()),
            tickets: complete.take_tickets(tickets),
        })
    }

    /// The tickets that it has brought.
    pub(super) fn take_tickets(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.tickets)
    }
}

/// How long to wait for a ticket after a handshake that took this long: it usually arrives one
/// round trip after the client's Finished.
pub(crate) fn ticket_wait(handshake: Duration) -> Duration {
    handshake.saturating_mul(2).saturating_add(TICKET_GRACE)
}
