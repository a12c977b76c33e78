//! The server's end: side connections, and the service that they ask.

pub(crate) mod connection;
pub(crate) mod service;
pub(crate) mod sessions;
pub(crate) mod settings;
