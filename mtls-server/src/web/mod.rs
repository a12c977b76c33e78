//! HTTP over connections that have a verdict.

mod client_io;
mod compress;
mod connection;
mod files;
mod html;
mod idle;
mod listing;
mod media;
mod pages;
mod request_body;
mod terminate;
mod verdict_field;
mod verdict_page;

pub use connection::{HttpLimits, Peer, Respond, Site};
pub use files::{Files, FilesBody, FilesOptions};
pub use request_body::RequestBody;
pub use terminate::{Download, Target, TargetError, Terminate, TerminateBody, TerminateOptions};
pub use verdict_field::{VERDICT_FIELD, verdict_field};
