//! A fleet over real Redis servers, which each test starts for itself.
//!
//! Without `redis-server` on the path the tests are skipped, with a message. No test asserts how
//! long something takes.

mod access;
mod contract;
mod engine;
mod faults;
mod fleet;
mod sentinel;
mod server;
mod traffic;
