//! Attackers, topologies, simulated networks and benchmarks for multipath TLS.

pub mod bench;
pub mod sim;
pub mod tls;
