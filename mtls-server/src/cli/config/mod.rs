//! Options from a file and from the environment.
//!
//! Neither has a parser of its own. The keys of a file become arguments, which the same clap command
//! parses as those of the command line, so types, conflicts and requirements apply to all sources.
//! The command line takes precedence over the environment, and the environment over the file.

mod addresses;
mod check;
mod environment;
mod error;
mod file;
#[cfg(any(test, feature = "__fuzzing"))]
mod fuzzing;
mod parse;

pub use check::ConfigCommand;
pub use error::{CommandLineError, ConfigError};
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use fuzzing::fuzz;
