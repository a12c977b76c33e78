//! Multipath TLS.

#[cfg(feature = "tokio")]
pub mod connector;
#[cfg(feature = "tokio")]
mod error;
#[cfg(feature = "tokio")]
mod evidence;
#[cfg(feature = "tokio")]
pub mod path;
#[cfg(feature = "tokio")]
mod places;
#[cfg(feature = "tokio")]
mod policy;
pub mod proto;
#[cfg(feature = "tokio")]
pub mod registry;
#[cfg(feature = "tokio")]
mod stream;
#[cfg(feature = "tokio")]
mod verdict;
