//! The relays on real sockets, between ends of every kind.

mod attack;
mod pairs;
mod refuse;
mod world;
