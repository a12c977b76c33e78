//! What each end concludes from its side connections, and whether its policy accepts that.

pub(crate) mod client;
mod decision;
pub(crate) mod server;
