//! Multipath TLS.
pub mod proto;
