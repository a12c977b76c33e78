//! Options that several commands share, and the parsers of their values.

pub(crate) mod dns;
pub(crate) mod duration;
mod groups;
pub(crate) mod http3;
pub(crate) mod input_file;
pub(crate) mod known_hosts;
pub(crate) mod resolve;
pub(crate) mod target;

pub(crate) use self::groups::{
    ConnectionArgs, OutputArgs, PathArgs, TimeArgs, TlsArgs, VerifyArgs,
};
