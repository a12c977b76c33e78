//! The relays on real sockets, between ends of every kind.

mod attack;
#[path = "../support/closed_port.rs"]
mod closed_port;
mod known_hosts;
mod pairs;
mod proxied;
mod refuse;
mod world;
