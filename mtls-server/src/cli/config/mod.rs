//! Options from a file and from the environment.
//!
//! Neither has a parser of its own. A file's keys are turned into the arguments that somebody
//! could have typed, and go through the same clap command as those that were, so that types,
//! conflicts and requirements hold whatever the source. The command line goes before the
//! environment, and that before the file.

mod addresses;
mod check;
mod environment;
mod error;
mod file;
mod parse;

pub use check::ConfigCommand;
pub use error::{CommandLineError, ConfigError};
