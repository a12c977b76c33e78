//! Attackers, topologies, simulated networks and benchmarks for multipath TLS.

pub mod sim;
pub mod tls;
