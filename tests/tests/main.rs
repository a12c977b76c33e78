//! Attacks, networks, virtual time, and the lab's own commands.

mod delays;
mod demo;
mod downgrade;
mod endings;
mod fleet_processes;
mod fleet_sim;
mod latency;
mod leftovers;
mod links;
mod man_in_the_middle;
mod namespaces;
mod out_of_reach;
mod policies;
mod registry_model;
mod several_sides;
mod side_lifetime;
mod side_tampering;
mod side_unavailable;
mod smkex;
mod test_vectors;
mod tickets;
mod tls_features;
mod verdicts;
mod virtual_time;
mod ways;
