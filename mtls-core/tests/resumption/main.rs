//! Verification by resumption against servers that know nothing of it.

mod attacks;
mod auto;
mod certificates;
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
