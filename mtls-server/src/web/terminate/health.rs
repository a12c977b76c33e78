//! The health of the target as requests show it, and the responses to clients when it fails.

use std::error::Error as _;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use hyper_util::client::legacy;
use mtls_core::http_io::HeadLimit;

use super::dial::DialError;
use crate::service;
use crate::target::Target;

/// The health of the target.
#[derive(Clone, Debug)]
pub(super) struct Health {
    target: Arc<Target>,
    record: Arc<service::Health>,
}

impl Health {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            record: Arc::new(service::Health::new(&target, "clients get 502 or 504")),
            target,
        }
    }

    /// The recorded state.
    pub(super) fn record(&self) -> &Arc<service::Health> {
        &self.record
    }

    pub(super) fn answered(&self) {
        self.record.record(Ok(()));
    }

    /// Records a failure, and returns the status code for the client.
    pub(super) fn failed(&self, error: &legacy::Error) -> StatusCode {
        let dial = error
            .source()
            .and_then(|source| source.downcast_ref::<DialError>());
        let Some(why) = dial else {
            let why = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            tracing::warn!(target_url = %self.target, why, "the target aborted a request");
            return StatusCode::BAD_GATEWAY;
        };
        self.record.record(Err(why.to_string()));
        match why {
            DialError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            DialError::Failed(_) => StatusCode::BAD_GATEWAY,
        }
    }

    pub(super) fn too_long(&self) {
        let limit = HeadLimit::RESPONSE.bytes();
        tracing::warn!(
            target_url = %self.target,
            "the target's response was refused: its header fields exceed {limit} bytes; \
             shorten them"
        );
    }

    pub(super) fn ambiguous(&self) {
        tracing::warn!(
            target_url = %self.target,
            "the target's response was refused: its Content-Length or Transfer-Encoding is invalid; \
             use one length, or chunked alone"
        );
    }

    pub(super) fn silent(&self) {
        tracing::warn!(target_url = %self.target, "the target did not answer in time");
    }

    /// Logs a 101 response to a request for no such protocol.
    pub(super) fn switched_unexpectedly(&self, protocol: Option<&HeaderValue>) {
        tracing::warn!(
            target_url = %self.target,
            ?protocol,
            "the target changed the protocol without being asked to (101): the client gets 502"
        );
    }
}
