//! Connections: settings, TLS configuration, verification and failures.

pub(crate) mod attempt;
pub(crate) mod channel_bindings;
pub(crate) mod client;
pub(crate) mod failure;
pub(crate) mod identity;
mod nameservers;
pub(crate) mod roots;
pub(crate) mod settings;
