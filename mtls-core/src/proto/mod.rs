//! The side protocol without I/O: no tokio, no socket, no clock and no randomness of its own.
//!
//! Time, bytes and random nonces are arguments. [`client`] and [`server`] are the two state machines,
//! [`frame`] what they send one another, [`binding`] what they compare, [`hello`] and [`exporter`]
//! what that is computed from. The connector and the acceptor drive them; a relay, a simulation or a
//! fuzzer can as well. The specification is `docs/protocol.md`.

pub mod binding;
pub mod carrier;
pub mod client;
pub mod error;
pub mod exporter;
pub mod frame;
pub mod hello;
pub mod limits;
pub mod server;
mod text;

#[cfg(test)]
mod tests;
