//! Side connections, and what drives their verifications, at both ends.

pub(crate) mod client;
pub(crate) mod server;
