//! Arguments that several commands share.

pub(crate) mod duration;
pub(crate) mod file;
mod groups;
pub(crate) mod target;

pub(crate) use self::groups::Shared;
