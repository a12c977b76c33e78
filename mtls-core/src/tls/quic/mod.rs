//! TLS inside QUIC: quinn's sessions with a tap on their CRYPTO streams. quinn and rustls do all of
//! the cryptography; what passes here is read and handed on (`docs/protocol.md`, section 14).

pub(crate) mod client;
pub(crate) mod server;
mod session;
