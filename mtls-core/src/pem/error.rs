//! The problems of PEM files, without any part of the file.

use std::fmt;
use std::io;
use std::path::Path;

use super::KeyPairError;
use super::key::KeyProblem;

pub(super) const CERTIFICATE: &str = "a certificate";
pub(super) const PRIVATE_KEY: &str = "a private key";

/// The problem of one PEM file.
///
/// The message has the form `FILE: CAUSE; REMEDY`.
///
/// ```
/// use std::path::Path;
///
/// use mtls_core::pem::{self, PemProblem};
///
/// let error = pem::private_key(Path::new("/nowhere.key")).unwrap_err();
/// assert!(matches!(error.problem(), PemProblem::Read(_)));
/// assert!(error.to_string().starts_with("/nowhere.key: "));
/// ```
#[derive(Debug)]
pub struct PemError {
    /// For display; not the name that was given where that is the text of a file.
    file: String,
    problem: PemProblem,
}

/// The problem with a PEM file. No variant contains any part of the file.
#[derive(Debug)]
#[non_exhaustive]
pub enum PemProblem {
    /// The name of the file is the text of one.
    NotAFileName,
    /// The system could not open or read the file.
    Read(io::Error),
    /// The file is longer than [`MAX_FILE_LENGTH`](super::MAX_FILE_LENGTH).
    TooLong,
    /// The file has no bytes.
    Empty,
    /// The file is binary (DER).
    Der(Wanted),
    /// The file is a PKCS #12 container.
    Pkcs12,
    /// No section is of the kind that is wanted.
    Missing {
        /// The kind.
        wanted: Wanted,
        /// The kind of the first section, in words.
        found: Option<&'static str>,
    },
    /// A `-----BEGIN` is not followed by a label and five dashes.
    IllegalBegin,
    /// A section does not end with its own label.
    MissingEnd,
    /// The body of a section is not base64.
    NotBase64,
    /// The body of a section is not DER.
    NotDer,
    /// The private key is encrypted.
    Encrypted,
}

/// The item that is read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One or more certificates.
    Certificate,
    /// A private key.
    PrivateKey,
}

impl PemError {
    pub(super) fn new(file: &Path, problem: PemProblem) -> Self {
        let file = match problem {
            PemProblem::NotAFileName => "(not shown)".to_owned(),
            _ => file.display().to_string(),
        };
        Self { file, problem }
    }

    /// The problem.
    pub fn problem(&self) -> &PemProblem {
        &self.problem
    }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.problem)
    }
}

impl std::error::Error for PemError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            PemProblem::Read(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for PemProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Read(error) => return error.fmt(f),
            Self::Der(wanted) => return write_der(f, *wanted),
            Self::Missing { wanted, found } => return write_missing(f, *wanted, *found),
            Self::NotAFileName => {
                "this is the content of a file and not its name; write it to a file, and name that"
            }
            Self::TooLong => "it is longer than 16 MiB; name a file with less in it",
            Self::Empty => "it is empty; write it again",
            Self::Pkcs12 => {
                "it is a PKCS #12 container and not PEM; convert it with \
                 `openssl pkcs12 -in FILE -nodes -out NEWFILE`"
            }
            Self::IllegalBegin => {
                "a line with `BEGIN` in it is damaged; copy the file again from its source"
            }
            Self::MissingEnd => {
                "a section in it has no `-----END` line that fits, so it may be cut off; copy the \
                 file again from its source"
            }
            Self::NotBase64 => {
                "a section in it is damaged, it is not base64; copy the file again from its source"
            }
            Self::NotDer => {
                "a section in it is damaged, it is not DER; copy the file again from its source"
            }
            Self::Encrypted => {
                "the key is encrypted; decrypt it with `openssl pkey -in FILE -out NEWFILE`, and \
                 let only its user read the new file"
            }
        };
        f.write_str(text)
    }
}

fn write_der(f: &mut fmt::Formatter<'_>, wanted: Wanted) -> fmt::Result {
    let command = match wanted {
        Wanted::Certificate => "x509",
        Wanted::PrivateKey => "pkey",
    };
    write!(
        f,
        "it is binary (DER) and not PEM; convert it with \
         `openssl {command} -inform DER -in FILE -out NEWFILE`"
    )
}

fn write_missing(
    f: &mut fmt::Formatter<'_>,
    wanted: Wanted,
    found: Option<&'static str>,
) -> fmt::Result {
    let (words, label) = match wanted {
        Wanted::Certificate => ("certificate", "CERTIFICATE"),
        Wanted::PrivateKey => ("private key", "PRIVATE KEY"),
    };
    write!(f, "there is no {words} in it")?;
    match found {
        Some(found @ (CERTIFICATE | PRIVATE_KEY)) => write!(
            f,
            ", but {found}; name another file, and see that certificate and key are not swapped"
        ),
        Some(found) => write!(f, ", but {found}; name another file"),
        // Without the dashes, from which messages are redacted.
        None => write!(
            f,
            "; name a PEM file, which has a line with `BEGIN {label}`"
        ),
    }
}

impl fmt::Display for KeyPairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(problem) => return problem.fmt(f),
            Self::Mismatch => {
                "the key does not belong to the certificate; name the key that the certificate was \
                 issued for"
            }
            Self::WrongOrder => {
                "the certificates are in the wrong order: the key belongs to a later one; put that \
                 one first, then the one that issued it, and so on"
            }
            Self::OldCertificate => {
                "the certificate is of X.509 version 1 or 2, which has no place for names and which \
                 TLS clients refuse; issue one of version 3 with subjectAltName"
            }
            Self::DamagedCertificate => {
                "the first certificate is damaged, it is not DER; copy it again from its source"
            }
        })
    }
}

impl std::error::Error for KeyPairError {}

impl std::error::Error for KeyProblem {}
