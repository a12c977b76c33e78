use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why no certificate could be made or written.
///
/// Each message says what was expected, what came, and what to do.
///
/// ```
/// use mtls_certs::{Error, Pki};
///
/// let error = Pki::new(&["not a name"]).unwrap_err();
/// assert!(matches!(error, Error::InvalidHostName(_)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A name for a server certificate is neither a DNS name nor an IP address.
    InvalidHostName(InvalidHostName),
    /// A server certificate was asked for without any name.
    NoHostNames,
    /// A common name is empty or longer than 64 characters (RFC 5280, appendix A.1).
    InvalidCommonName {
        /// How many characters it has.
        characters: usize,
    },
    /// The system clock stands before 1970.
    ClockBeforeEpoch,
    /// The cryptography library refused to make a key or a certificate.
    Generate(rcgen::Error),
    /// Files that would be written exist, and overwriting them was not asked for.
    WouldOverwrite {
        /// The files that exist, in the order in which they would be written.
        files: Vec<PathBuf>,
    },
    /// A place where a file should be written holds something that is no regular file.
    NotAFile {
        /// The place.
        path: PathBuf,
    },
    /// The system refused to create, write or rename a file or a directory.
    Io {
        /// The failed operation, such as `create`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The report could not be written.
    Output(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidHostName(error) => error.fmt(f),
            Self::NoHostNames => f.write_str(
                "a server certificate needs at least one DNS name or IP address, none was given",
            ),
            Self::InvalidCommonName { characters } => write!(
                f,
                "a common name needs 1 to 64 characters, not {characters}: choose a shorter or fuller one"
            ),
            Self::ClockBeforeEpoch => {
                f.write_str("the system clock stands before 1970: set it and try again")
            }
            Self::Generate(error) => write!(f, "cannot make a key or certificate: {error}"),
            Self::WouldOverwrite { files } => {
                f.write_str("would overwrite ")?;
                for (index, file) in files.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", file.display())?;
                }
                f.write_str(": choose another directory, or allow it with --force")
            }
            Self::NotAFile { path } => write!(
                f,
                "{} is in the way and is no regular file: move it, or choose another directory",
                path.display()
            ),
            Self::Io {
                action,
                path,
                source,
            } => write!(f, "cannot {action} {}: {source}", path.display()),
            Self::Output(source) => write!(f, "cannot write to standard output: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Generate(error) => Some(error),
            Self::Io { source, .. } | Self::Output(source) => Some(source),
            _ => None,
        }
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Generate(error)
    }
}

impl From<InvalidHostName> for Error {
    fn from(error: InvalidHostName) -> Self {
        Self::InvalidHostName(error)
    }
}

/// A text that is neither a DNS name nor an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHostName {
    pub(crate) text: String,
}

impl fmt::Display for InvalidHostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is neither a DNS name nor an IP address: give it without scheme, port or brackets, \
             such as example.com, *.example.com or ::1 (international names in their xn-- form)",
            self.text
        )
    }
}

impl std::error::Error for InvalidHostName {}
