//! Multipath TLS (never mutual TLS) for the web stack: hyper's client, axum's server, and tower
//! between them. Feature `http`.
//!
//! - [`MultipathHttpsConnector`] connects hyper-util's client, in the builder steps of
//!   hyper-rustls.
//! - [`MultipathListener`](crate::MultipathListener) is an [`axum::serve::Listener`], and
//!   [`MultipathConnectInfo`] tells a handler who the peer is and what was verified.
//! - [`RequireVerified`] demands a verified connection, for a route of a server or for the
//!   answers that a client takes.
//!
//! At both ends the verdict is a [`VerdictHandle`] in the extensions of requests and responses:
//! [`verdict`] finds it.

mod builder;
mod connector;
mod explanation;
mod handover;
mod listener;
mod require;
mod stream;

use ::http::Extensions;
use axum::extract::ConnectInfo;

use crate::stream::VerdictHandle;

pub use builder::{
    MultipathHttpsConnectorBuilder, WantsPolicy, WantsProtocols1, WantsProtocols2, WantsProtocols3,
    WantsSchemes, WantsTlsConfig,
};
pub use connector::{MultipathHttpsConnector, OwnPrimary};
pub use explanation::NotVerified;
pub use listener::MultipathConnectInfo;
pub use require::{
    OnClient, OnServer, RequireVerified, RequireVerifiedClient, RequireVerifiedServer,
};
pub use stream::MultipathHttpsStream;

/// Any error, as tower and hyper pass it on.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The verdict on the connection that a request or a response came over.
///
/// Found where hyper's client puts it (with [`MultipathHttpsConnector`]), where axum does (with
/// [`MultipathConnectInfo`]), and where a server of another make has put a [`VerdictHandle`] or a
/// [`MultipathConnectInfo`] itself, as tonic's does. `None` for a connection that nobody verified,
/// such as plain HTTP: take it as unverified.
///
/// ```
/// # fn example<B>(response: http::Response<B>) {
/// let verified = mtls_core::http::verdict(response.extensions())
///     .is_some_and(|verdict| verdict.get().verified().is_some());
/// # let _ = verified;
/// # }
/// ```
pub fn verdict(extensions: &Extensions) -> Option<&VerdictHandle> {
    let connection = || {
        let wrapped = extensions.get::<ConnectInfo<MultipathConnectInfo>>();
        let info = wrapped.map(|ConnectInfo(info)| info);
        info.or_else(|| extensions.get())
    };
    extensions
        .get::<VerdictHandle>()
        .or_else(|| connection().map(MultipathConnectInfo::verdict))
}
