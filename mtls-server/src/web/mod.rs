//! HTTP over connections that have a verdict.

mod compress;
mod connection;
mod files;
mod framing;
mod http3;
mod listing;
mod site;
mod terminate;

pub use connection::{RequestBody, Takeover};
pub use files::{Files, FilesBody, FilesOptions};
pub use site::{HttpLimits, Site};
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use terminate::fuzz_fields as fuzz_forwarded_fields;
pub use terminate::{Download, TargetLimits, Terminate, TerminateBody, TerminateOptions};

/// An error of an application's service or body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
