//! Multipath TLS for hyper-util's client. Feature `hyper-client`.
//!
//! [`MultipathHttpsConnector`] takes the place of hyper-rustls's `HttpsConnector`, and is built in
//! the same steps. [`VerdictHandle::from_extensions`](crate::VerdictHandle::from_extensions) finds
//! the verdict in each response.

mod builder;
mod connector;
mod handover;
mod stream;

pub use builder::{
    MultipathHttpsConnectorBuilder, WantsProtocols1, WantsProtocols2, WantsProtocols3,
    WantsSchemes, WantsSettings, WantsTlsConfig,
};
pub use connector::{MultipathHttpsConnector, OwnPrimary};
pub use stream::MultipathHttpsStream;

/// The error of an inner connector, as tower and hyper pass it on.
type BoxError = Box<dyn std::error::Error + Send + Sync>;
