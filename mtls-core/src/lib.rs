//! Multipath TLS.
#[cfg(feature = "tokio")]
pub mod path;
pub mod proto;
