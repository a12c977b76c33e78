//! Programs under load: the processes, their honest clients, and their resources.

pub(crate) mod browse;
pub(crate) mod fleet;
pub(crate) mod level;
mod program;
pub(crate) mod site;
pub(crate) mod traffic;
