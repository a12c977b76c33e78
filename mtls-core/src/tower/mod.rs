//! Tower layers for verdicts, at servers and at clients. Feature `tower`.
//!
//! A server inserts a [`MultipathConnectInfo`] into the extensions of each request, or its
//! [`VerdictHandle`](crate::VerdictHandle) alone. `axum::serve` with a
//! [`MultipathListener`](crate::MultipathListener) and `mtls_server::Site` do that.

#[cfg(feature = "known-hosts")]
mod advertise;
mod connect_info;
mod explanation;
mod media;
mod require;
mod verdict_field;
mod verdict_layer;

#[cfg(feature = "known-hosts")]
pub use advertise::{AdvertiseFuture, AdvertiseLayer, AdvertiseService, KNOWN_HOSTS_FIELD};
pub use connect_info::MultipathConnectInfo;
pub use explanation::NotVerified;
pub use media::Media;
pub use require::{
    OnClient, OnServer, RequireVerified, RequireVerifiedClient, RequireVerifiedServer,
};
pub use verdict_field::{VERDICT_FIELD, verdict_field};
pub use verdict_layer::{VerdictFuture, VerdictLayer, VerdictService};
