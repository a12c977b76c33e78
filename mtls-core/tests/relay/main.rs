//! The relays on real sockets, between ends of every kind.

mod attack;
mod pairs;
mod proxied;
mod refuse;
mod world;
