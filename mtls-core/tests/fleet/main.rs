//! Registries of a fleet's machines over engines with faults.
//!
//! Time is paused, so a wait costs nothing, and each fault is exact.

mod contract;
mod faults;
mod messages;
mod reservations;
mod world;
