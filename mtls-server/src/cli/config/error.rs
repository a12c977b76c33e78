//! Errors of a command line, its environment, and its file.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mtls_core::pem::redact;

use crate::error::Error;
use crate::printable::printable_line;

/// The exit status for a wrong command line, as clap's.
const USAGE: u8 = 2;

/// The reason why a command line is invalid.
#[derive(Debug)]
pub enum CommandLineError {
    /// The arguments are invalid, or ask for help or the version.
    Typed(Box<clap::Error>),
    /// The value of an environment variable is invalid.
    Environment {
        /// The variable.
        variable: String,
        /// The reason.
        message: String,
    },
    /// The configuration file is invalid.
    File(Vec<ConfigError>),
}

/// An error in a configuration file.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    line: Option<usize>,
    problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    Read(io::Error),
    Syntax(String),
    Empty,
    OutsideTable {
        key: String,
        commands: Vec<String>,
    },
    UnknownTable {
        name: String,
        commands: Vec<String>,
    },
    NoTable {
        command: String,
    },
    UnknownKey {
        table: String,
        key: String,
        suggestion: Option<String>,
    },
    WrongType {
        key: String,
        expected: &'static str,
        found: &'static str,
    },
    /// clap's own message.
    Rejected(String),
    /// A certificate, directory or address that it names cannot be used.
    Unusable(Error),
    /// An address that it names could not be checked.
    Unchecked(Error),
}

impl CommandLineError {
    /// Prints the error or the requested help, and returns the exit status.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Typed(error) => {
                // A closed output cannot be reported.
                let _ = match redact(&error.render().to_string()) {
                    Cow::Borrowed(_) => error.print(),
                    Cow::Owned(text) => write!(io::stderr(), "{text}"),
                };
                u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
            }
            Self::Environment { variable, message } => {
                let _ = writeln!(io::stderr(), "mtls-server: {variable}: {message}");
                ExitCode::from(USAGE)
            }
            Self::File(errors) => {
                for error in errors {
                    let _ = writeln!(io::stderr(), "mtls-server: {error}");
                }
                ExitCode::from(USAGE)
            }
        }
    }
}

impl ConfigError {
    pub(super) fn new(path: &Path, line: Option<usize>, problem: Problem) -> Self {
        Self {
            path: path.to_owned(),
            line,
            problem,
        }
    }

    /// The line of the error, counted from 1. `None` for an error of the whole file.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}:", self.path.display());
        if let Some(line) = self.line {
            text += &format!("{line}:");
        }
        // It may quote the file, and a server that the file names.
        f.write_str(&printable_line(&format!("{text} {}", self.problem)))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read the configuration: {error}"),
            Self::Syntax(message) => write!(f, "not TOML: {}", message.replace('\n', ", ")),
            Self::Empty => f.write_str("there is no table in it: nothing would run"),
            Self::OutsideTable { key, commands } => write!(
                f,
                "`{key}` stands outside a table; write it below the command that it is for: {}",
                Tables(commands)
            ),
            Self::UnknownTable { name, commands } => write!(
                f,
                "unknown table [{name}]; expected a command: {}",
                Tables(commands)
            ),
            Self::NoTable { command } => {
                write!(
                    f,
                    "there is no table [{command}], and `{command}` is to run"
                )
            }
            Self::UnknownKey {
                table,
                key,
                suggestion,
            } => {
                write!(f, "unknown key `{key}` in [{table}]; ")?;
                match suggestion {
                    Some(suggestion) => write!(f, "did you mean `{suggestion}`?"),
                    None => write!(f, "`mtls-server {table} --help` lists the options"),
                }
            }
            Self::WrongType {
                key,
                expected,
                found,
            } => write!(f, "`{key}` must be {expected}, and not this {found}"),
            Self::Rejected(message) => f.write_str(message),
            Self::Unusable(error) => error.fmt(f),
            Self::Unchecked(error) => write!(f, "not checked: {error}"),
        }
    }
}

impl fmt::Display for CommandLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Typed(error) => error.fmt(f),
            Self::Environment { variable, message } => write!(f, "{variable}: {message}"),
            Self::File(errors) => {
                for (index, error) in errors.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{error}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for CommandLineError {}

impl std::error::Error for ConfigError {}

/// `[serve] or [terminate]`.
struct Tables<'a>(&'a [String]);

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " or " };
            write!(f, "{separator}[{name}]")?;
        }
        Ok(())
    }
}
