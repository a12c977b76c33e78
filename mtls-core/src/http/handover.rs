//! Hands connections to the client's pool.

use hyper_util::client::legacy::connect::Connected;

use super::stream::MultipathHttpsStream;
use crate::path::Endpoint;
use crate::policy::Policy;
use crate::stream::ClientStream;

#[derive(Clone, Debug, Default)]
pub(super) struct Handover {}

impl Handover {
    pub(super) async fn hand_over<T>(
        &self,
        _to: Endpoint,
        stream: ClientStream<T>,
        policy: Policy,
        about: fn(&T) -> Connected,
    ) -> Result<MultipathHttpsStream<T>, crate::Error> {
        Ok(MultipathHttpsStream::https(stream, policy, about))
    }
}
