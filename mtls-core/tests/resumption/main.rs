//! Verification by resumption against servers that know nothing of it.

mod attacks;
mod auto;
mod certificates;
#[path = "../support/closed_port.rs"]
mod closed_port;
mod evidence;
mod forger;
mod inherit;
mod inheriting_server;
mod mitm;
mod outcomes;
mod prefetch;
mod streams;
mod tickets;
mod world;
