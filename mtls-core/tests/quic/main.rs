//! QUIC: connector and acceptor on real sockets, and attackers of quinn's own.

mod attack;
#[path = "../support/closed_port.rs"]
mod closed_port;
mod copied_random;
mod http3;
mod limits;
mod network;
mod policy;
mod registry;
mod smkex;
mod verify;
mod world;
