//! A session ticket.

use rustls::client::Tls13ClientSessionValue;

/// A TLS 1.3 session ticket with its secret. It is offered once.
pub(crate) struct Ticket(pub(super) Box<Tls13ClientSessionValue>);
