//! The parts of every long-running command: sockets that stop accepting, a server of TLS connections,
//! and the loop that runs a service until a signal ends it.

pub(crate) mod core_dumps;
mod fleet;
mod hand_over;
mod health;
mod incoming;
mod inherited;
mod listen;
mod log;
mod monitor;
pub(crate) mod notify;
pub(crate) mod open_files;
mod options;
pub(crate) mod program;
mod proxied;
mod quic;
pub(crate) mod sandbox;
mod server;
mod status;
mod stop;
mod transports;

pub use health::TargetHealth;
pub use inherited::InheritedSockets;
pub use options::{Authentication, Limits, ServerOptions};
pub use proxied::Network;
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use proxied::fuzzing::fuzz as fuzz_proxy_header;
pub use quic::Channel;
pub use server::{Connection, Drained, OpenConnections, Server};
pub use stop::Stopping;
pub(crate) use stop::{SILENT_GRACE, Stop, VERIFICATION_GRACE, poll_until};
pub use transports::AcceptedConnections;

pub(crate) use fleet::Fleet;
pub(crate) use health::Health;
pub(crate) use incoming::{Closed, Sockets};
pub(crate) use listen::{Transport, listen};
pub(crate) use log::{finish_log, print_line, start_log};
pub(crate) use monitor::{Backend, Monitor};
pub(crate) use program::Program;
