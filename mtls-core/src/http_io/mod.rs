//! Adapters between a TLS stream and an HTTP library, for servers and clients.
//!
//! They work around limits of the HTTP library that lose data of honest peers, and give both
//! programs of this project the same bounds.

mod head_limit;
mod keep_reading;
mod linger;
mod merge_data;

pub use head_limit::HeadLimit;
pub use keep_reading::{KeepReading, WriteError};
pub use linger::{LINGER, LINGER_PAUSE, linger};
pub use merge_data::MergeData;
