//! Says once when the target goes away, and once when it is back.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use hyper_util::client::legacy;
use mtls_core::http_io::HeadLimit;

use super::dial::DialError;
use super::target::Target;

/// What is known of the target.
#[derive(Clone, Debug)]
pub(super) struct Health {
    target: Arc<Target>,
    down: Arc<AtomicBool>,
}

impl Health {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            down: Arc::default(),
        }
    }

    pub(super) fn answered(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            tracing::warn!(target_url = %self.target, "the target answers again");
        }
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
        let status = match why {
            DialError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            DialError::Failed(_) => StatusCode::BAD_GATEWAY,
        };
        if !self.down.swap(true, Ordering::Relaxed) {
            tracing::error!(
                target_url = %self.target,
                %why,
                "the target cannot be reached: clients get {} until it can", status.as_u16()
            );
        }
        status
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
}
