//! The client's end: its side paths, its side connections, and the verifications over them.

pub(crate) mod connection;
pub(crate) mod known;
pub(crate) mod pool;
pub(crate) mod result;
pub(crate) mod settings;
pub(crate) mod verification;
