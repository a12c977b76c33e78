//! The parts of an HTTP connection: its stream, its limits of time, and its requests.

pub(super) mod activity;
pub(super) mod client_io;
pub(super) mod finish;
pub(super) mod http1;
pub(super) mod http3_body;
mod request_body;
pub(super) mod requests;
mod takeover;
pub(super) mod well_formed;

pub use request_body::RequestBody;
pub use takeover::Takeover;
