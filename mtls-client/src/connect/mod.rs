//! Connections: paths, TLS configuration, verification and failures.

pub(crate) mod attempt;
pub(crate) mod channel_bindings;
pub(crate) mod client;
pub(crate) mod close;
pub(crate) mod failure;
pub(crate) mod http3;
pub(crate) mod identity;
pub(crate) mod known_hosts;
mod nameservers;
pub(crate) mod path_set;
mod prefetch;
pub(crate) mod provider;
mod race;
pub(crate) mod roots;
pub(crate) mod settings;
