//! Connections: paths, TLS configuration, verification and failures.

pub(crate) mod attempt;
pub(crate) mod channel_bindings;
pub(crate) mod client;
pub(crate) mod close;
pub(crate) mod failure;
pub(crate) mod identity;
pub(crate) mod known_hosts;
mod nameservers;
pub(crate) mod path_set;
pub(crate) mod provider;
pub(crate) mod roots;
pub(crate) mod settings;
