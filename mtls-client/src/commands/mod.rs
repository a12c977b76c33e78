//! The commands: a folder for each.

pub(crate) mod check;
pub(crate) mod connect;
pub(crate) mod get;
pub(crate) mod paths;
pub(crate) mod proxy;
pub(crate) mod reference;
