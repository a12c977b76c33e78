//! The relays on real sockets, between ends of every kind.

mod attack;
mod known_hosts;
mod pairs;
mod proxied;
mod refuse;
mod world;
