//! `--advertise`: the request to be remembered.

use std::time::Duration;

use mtls_core::known_hosts::Advertisement;
use mtls_core::path::Endpoint;

use crate::arguments::max_age;
use crate::web::Site;

/// The request to clients to remember the server.
#[derive(Debug, clap::Args)]
pub struct AdvertiseArgs {
    /// Request in the response field Multipath-TLS that clients remember this server for TIME
    ///
    /// A client that has verified the connection then refuses connections that are not verified, until
    /// TIME after the last response that it received. TIME is as 180d or 12h, at most 730d; 0s requests
    /// to be forgotten. Begin with a short time.
    #[arg(long, value_name = "TIME", value_parser = max_age)]
    pub advertise: Option<Duration>,

    /// With --advertise, address of the side verifier, if it is not the server's own host and port
    #[arg(long, value_name = "HOST:PORT", requires = "advertise")]
    pub advertise_side: Option<Endpoint>,
}

impl AdvertiseArgs {
    /// Adds the field to the responses of a site.
    pub(super) fn apply<S>(&self, site: Site<S>) -> Site<S> {
        let Some(max_age) = self.advertise else {
            return site;
        };
        let side = self.advertise_side.iter().cloned();
        let advertisement = Advertisement::new(max_age);
        site.advertise(&side.fold(advertisement, Advertisement::side_endpoint))
    }
}
