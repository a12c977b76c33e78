//! Connections to the target that have carried a response.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::http::Extensions;
use hyper_util::client::legacy::connect::CaptureConnection;

/// Whether a connection to the target has carried a response.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered(Arc<AtomicBool>);

impl Answered {
    /// Records that the connection of a response has carried one.
    pub(super) fn note(extensions: &Extensions) {
        if let Some(answered) = extensions.get::<Self>() {
            answered.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a request went over a connection that had carried a response before.
    pub(super) fn before(connection: &CaptureConnection) -> bool {
        let mut extras = Extensions::new();
        if let Some(connected) = &*connection.connection_metadata() {
            connected.get_extras(&mut extras);
        }
        let answered = extras.get::<Self>();
        answered.is_some_and(|answered| answered.0.load(Ordering::Relaxed))
    }
}
