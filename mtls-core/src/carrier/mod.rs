//! The side exchange inside a Multipath TCP connection, on a subflow of its own
//! (`docs/protocol.md`, section 15).
//!
//! The connection is framed until both ends have switched: chunks of the TLS connection on the first
//! subflow, and chunks of a side connection on the second. That side connection is one like any other,
//! over a pipe in memory. The client directs the kernels of both ends; both compare the kernel's
//! counters of each subflow with what they have sent and received.

mod check;
pub(crate) mod client;
pub(crate) mod server;
mod step;
mod stream;
mod subflow;

pub(crate) use stream::Carrier;
pub(crate) use subflow::SecondSubflow;
