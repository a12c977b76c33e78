//! Attackers on a primary path of QUIC.

mod initial;
mod injector;
mod mitm;

pub use injector::{Injection, Injector};
