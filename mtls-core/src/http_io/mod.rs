//! Adapters between a TLS stream and an HTTP library, for servers and clients.
//!
//! They work around limits of the HTTP library that lose data of honest peers, and both programs of
//! this project share their limits.

mod head_limit;
#[cfg(feature = "http3")]
mod http3;
mod keep_reading;
mod linger;
mod merge_data;

use std::error::Error;

pub use head_limit::HeadLimit;
#[cfg(all(feature = "http3", any(test, feature = "__fuzzing")))]
pub(crate) use http3::fuzz;
#[cfg(feature = "http3")]
pub use http3::{
    CheckFrames, CheckedBidiStream, CheckedOpenStreams, CheckedRecvStream,
    SendStream as Http3SendStream,
};
pub use keep_reading::{KeepReading, WriteError};
pub use linger::{LINGER, LINGER_PAUSE, linger};
pub use merge_data::MergeData;

/// The error of this type among the causes of an error: HTTP libraries wrap those of HTTP/2 and of
/// the system.
pub fn find_cause<E: Error + 'static>(error: &dyn Error) -> Option<&E> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
