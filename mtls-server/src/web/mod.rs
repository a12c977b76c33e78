//! HTTP over connections that have a verdict.

mod connection;
mod files;
mod idle;
mod verdict_field;

pub use connection::{HttpLimits, Peer, Respond, Site};
pub use files::Files;
pub use verdict_field::{VERDICT_FIELD, verdict_field};
