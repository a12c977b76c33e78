//! Multipath TLS.
#[cfg(feature = "tokio")]
mod places;
pub mod proto;
#[cfg(feature = "tokio")]
pub mod registry;
