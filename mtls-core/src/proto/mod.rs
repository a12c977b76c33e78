//! The side protocol without I/O: no tokio, no socket, no clock and no randomness of its own.

pub mod binding;
pub mod client;
pub mod error;
pub mod exporter;
pub mod frame;
pub mod hello;
pub mod limits;
pub mod server;

#[cfg(test)]
mod tests;
