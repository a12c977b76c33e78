//! Every call into rustls but those in public signatures: both ends' handshakes.

pub(crate) mod authentication;
pub(crate) mod client;
pub(crate) mod descent;
pub(crate) mod first_hello;
pub(crate) mod io;
pub(crate) mod mark;
#[cfg(feature = "quic")]
pub(crate) mod quic;
pub(crate) mod raw_key;
pub(crate) mod resumption;
pub(crate) mod server;
pub(crate) mod server_signature;
pub(crate) mod ticket;
pub(crate) mod tickets;
