//! The target's health as requests show it, and the responses that clients get when it fails.

use std::error::Error as _;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use hyper_util::client::legacy;
use mtls_core::http_io::HeadLimit;

use super::dial::DialError;
use super::target::Target;
use crate::service;

/// What is known of the target.
#[derive(Clone, Debug)]
pub(super) struct Health {
    target: Arc<Target>,
    noted: Arc<service::Health>,
}

impl Health {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            noted: Arc::new(service::Health::new(&target, "clients get 502 or 504")),
            target,
        }
    }

    /// What connections showed.
    pub(super) fn noted(&self) -> &Arc<service::Health> {
        &self.noted
    }

    pub(super) fn answered(&self) {
        self.noted.note(Ok(()));
    }

    /// Notes a failure, and says what the client is told.
    pub(super) fn failed(&self, error: &legacy::Error) -> StatusCode {
        let dial = error
            .source()
            .and_then(|source| source.downcast_ref::<DialError>());
        let Some(why) = dial else {
            let why = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            tracing::warn!(target_url = %self.target, why, "the target broke a request off");
            return StatusCode::BAD_GATEWAY;
        };
        self.noted.note(Err(why.to_string()));
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
             make them shorter"
        );
    }

    pub(super) fn silent(&self) {
        tracing::warn!(target_url = %self.target, "the target did not answer in time");
    }

    /// Logs a 101 response to a request that asked for no such protocol.
    pub(super) fn switched_unasked(&self, protocol: Option<&HeaderValue>) {
        tracing::warn!(
            target_url = %self.target,
            ?protocol,
            "the target changed the protocol without being asked to (101): the client gets 502"
        );
    }
}
