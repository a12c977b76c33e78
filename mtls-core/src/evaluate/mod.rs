//! The conclusion that each end draws from its side connections, and whether its policy accepts it.

pub(crate) mod client;
pub(crate) mod decision;
pub(crate) mod server;
