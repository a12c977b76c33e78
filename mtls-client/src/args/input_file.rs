//! Files that an option names.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

/// A file to read, or standard input (`-`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InputFile {
    Stdin,
    File(PathBuf),
}

impl InputFile {
    /// The parser of an option's value.
    pub(crate) fn parser() -> impl TypedValueParser<Value = Self> {
        PathBufValueParser::new().map(Self::from)
    }

    /// Reads the whole text.
    ///
    /// # Errors
    /// If the file cannot be read, is not UTF-8, or has more than `limit` bytes.
    pub(crate) fn read_text(&self, limit: u64) -> io::Result<String> {
        let mut text = String::new();
        let length = match self {
            Self::Stdin => io::stdin().take(limit + 1).read_to_string(&mut text),
            Self::File(path) => File::open(path)?.take(limit + 1).read_to_string(&mut text),
        }?;
        match length as u64 > limit {
            true => Err(io::Error::other(format!("longer than {limit} bytes"))),
            false => Ok(text),
        }
    }

    /// The last part of its path.
    pub(crate) fn file_name(&self) -> Option<String> {
        match self {
            Self::Stdin => None,
            Self::File(path) => {
                let name = path.file_name()?;
                Some(name.to_string_lossy().into_owned())
            }
        }
    }
}

impl<P: AsRef<Path>> From<P> for InputFile {
    fn from(path: P) -> Self {
        match path.as_ref().as_os_str() == "-" {
            true => Self::Stdin,
            false => Self::File(path.as_ref().into()),
        }
    }
}

impl fmt::Display for InputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => write!(f, "`{}`", path.display()),
        }
    }
}
