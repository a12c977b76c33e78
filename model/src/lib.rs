//! A model of the side protocol under attack, for exhaustive checking.
//! [`fleet`] is a model of its own, of the registry that several machines share.
//!
//! The machines are the library's own: every [`ClientVerifier`] and [`ServerVerifier`] in a
//! [`State`] is the real one, fed with real frames and with values that the library computes.
//! The parts outside of the library are abstract: TLS (a [`Transcript`] names who holds
//! the keys, and is hashed where the real one would be), the drivers (kept as thin as they can
//! be), the registry (a copy of its rules, compared with the real one by a test), and time (a
//! timeout is a step that may be taken).
//!
//! A [`Scenario`] says who attacks what, and with how many moves; [`World`] explores every order
//! of every move. An attacker on a path *is* that path: what the client sends there it learns, and
//! nothing arrives but what it sends. It can send what it has seen and what it can compute, which
//! takes the handshake's keys for the exporter binding and its hellos for the hello binding.
//!
//! [`ClientVerifier`]: mtls_core::proto::client::ClientVerifier
//! [`ServerVerifier`]: mtls_core::proto::server::ServerVerifier

pub mod client;
mod explore;
pub mod fleet;
pub mod forgery;
pub mod knowledge;
pub mod mutant;
pub mod properties;
pub mod registry;
pub mod scenario;
pub mod server;
pub mod state;
pub mod symbols;
pub mod world;

pub use mutant::Mutant;
pub use scenario::{Access, Scenario};
pub use state::State;
pub use symbols::Transcript;
pub use world::{Action, World};
