//! Errors of a server before and while it serves.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mtls_core::pem::{KeyPairError, PemError, PemProblem};
use mtls_core::{Policy, tls_error_message};
use rustix::io::Errno;

use crate::inherited_error::InheritedSocketError;
use crate::registry_error::RegistryError;
use crate::target::TargetError;

/// The reason why a server did not start, or was interrupted.
///
/// Each message names the failed action, the cause, and the remedy.
///
/// ```
/// use mtls_server::{Error, Files, FilesOptions};
///
/// let error = Files::new("/nowhere".as_ref(), FilesOptions::default()).err();
/// assert!(matches!(error, Some(Error::Directory { .. })));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The directory to serve is missing or unreadable.
    Directory {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path to serve is no directory.
    NotADirectory(PathBuf),
    /// The private key is in the directory to serve.
    KeyIsServed {
        /// The key.
        key: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
    /// A certificate or key file cannot be read or used.
    Pem {
        /// `certificate`, `key`, `client CA` or `target CA`.
        what: &'static str,
        /// The file and its problem.
        source: PemError,
    },
    /// A certificate or key file that cannot be read again while the server runs.
    NotReloadable(PathBuf),
    /// A certificate and a key cannot be used together.
    KeyPair {
        /// The certificate and the key, if they were read from files.
        files: Option<(PathBuf, PathBuf)>,
        /// The problem.
        source: KeyPairError,
    },
    /// rustls cannot be set up.
    Tls(rustls::Error),
    /// rustls refuses the authorities of `--client-ca`.
    ClientCa {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// rustls refuses the authorities of `--target-ca`.
    TargetCa {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// `--target-ca` with a target that has no certificate.
    UnusedTargetCa,
    /// This system has no list of authorities.
    NoSystemRoots,
    /// The target cannot be used.
    Target(TargetError),
    /// Certificates for `--dev` could not be created.
    Certificates(mtls_certs::Error),
    /// The CA of `--dev` could not be written.
    WriteCa {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Completions, manual pages or the key of `--smkex-key` could not be written.
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An address cannot be bound.
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The UDP port of an address cannot be bound.
    ListenUdp {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Two addresses that cannot be bound at the same time.
    SameAddress(SocketAddr, SocketAddr),
    /// There is no address to listen on.
    NoListener,
    /// A socket from the service manager cannot be used.
    InheritedSocket(Box<InheritedSocketError>),
    /// The passthrough's target is the passthrough.
    TargetIsSelf(SocketAddr),
    /// The status page would be open to other machines.
    StatusInTheOpen(SocketAddr),
    /// `--smkex` with another policy than `require`.
    SmkexPolicy(Policy),
    /// The shared registry cannot be used.
    Registry(Box<RegistryError>),
    /// A limit of zero.
    ZeroLimit(&'static str),
    /// The library refused the settings.
    Multipath(Box<mtls_core::Error>),
    /// The runtime or the signal handlers could not be created.
    Runtime(io::Error),
    /// A second signal came while connections were still open.
    Interrupted,
    /// A signal came before the server served. This is no failure of a program.
    StoppedEarly,
}

impl Error {
    /// The exit status: 2 for invalid options, as clap's, and otherwise 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::StatusInTheOpen(_) | Self::SmkexPolicy(_) => ExitCode::from(2),
            Self::Registry(error) if matches!(**error, RegistryError::Url(_)) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, source } => write_directory(f, path, source),
            Self::NotADirectory(path) => write!(
                f,
                "cannot serve {}: it is not a directory; name the directory that holds the files",
                path.display()
            ),
            Self::KeyIsServed { key, dir } => write!(
                f,
                "the key {} lies in {}, where every client could fetch it; move it elsewhere, or \
                 serve another directory",
                key.display(),
                dir.display()
            ),
            Self::Pem { what, source } => match source.problem() {
                PemProblem::Read(_) => write!(f, "cannot read the {what} {source}"),
                _ => write!(f, "cannot use the {what} {source}"),
            },
            Self::NotReloadable(path) => write!(
                f,
                "cannot reload {}: it is not a regular file; restart the server, or store it in a file",
                path.display()
            ),
            Self::KeyPair { files, source } => write_key_pair(f, files.as_ref(), source),
            Self::Tls(error) => write!(f, "cannot set up TLS: {}", tls_error_message(error)),
            Self::ClientCa { path, reason } => {
                write!(f, "cannot use the client CA {}: {reason}", path.display())
            }
            Self::TargetCa { path, reason } => {
                write!(f, "cannot use the target CA {}: {reason}", path.display())
            }
            Self::UnusedTargetCa => f.write_str(
                "cannot use --target-ca: it is for https targets, and this one has no certificate; omit it, \
                 or name a target of https://",
            ),
            Self::NoSystemRoots => f.write_str(
                "cannot check the target's certificate: this system has no list of authorities; \
                 install one (ca-certificates), or name the target's authority with --target-ca",
            ),
            Self::Target(error) => error.fmt(f),
            Self::Certificates(error) => write!(f, "cannot create certificates: {error}"),
            Self::WriteCa { path, source } => {
                write!(f, "cannot write the CA to {}: {source}", path.display())
            }
            Self::Write { path, source } => write!(
                f,
                "cannot write {}: {source}; name a directory that you may write to",
                path.display()
            ),
            Self::Listen { address, source } => write_listen(f, *address, source),
            Self::ListenUdp { address, source } => write_listen_udp(f, *address, source),
            Self::SameAddress(one, other) => write!(
                f,
                "cannot listen on both {one} and {other}: one includes the other; omit one"
            ),
            Self::NoListener => f.write_str("cannot listen: there is no address; give at least one"),
            Self::InheritedSocket(error) => error.fmt(f),
            Self::TargetIsSelf(address) => write!(
                f,
                "cannot relay to {address}: it is where the passthrough itself listens; name the \
                 server behind it"
            ),
            Self::StatusInTheOpen(address) => write!(
                f,
                "cannot serve --status on {address}: other hosts could read it; use a loopback address, \
                 or add --unsafe-status"
            ),
            Self::SmkexPolicy(policy) => write!(
                f,
                "cannot use --smkex: without certificates the policy is `require` and cannot be \
                 `{policy}`; omit --policy"
            ),
            Self::Registry(error) => error.fmt(f),
            Self::ZeroLimit(name) => write!(f, "`{name}` must be at least 1"),
            Self::Multipath(error) => error.fmt(f),
            Self::Runtime(error) => write!(f, "cannot start: {error}"),
            Self::StoppedEarly => f.write_str("a signal arrived before the server served"),
            Self::Interrupted => f.write_str("a second signal arrived: open connections were cut off"),
        }
    }
}

fn write_directory(f: &mut fmt::Formatter<'_>, path: &Path, source: &io::Error) -> fmt::Result {
    write!(f, "cannot serve {}: {source}", path.display())
}

fn write_key_pair(
    f: &mut fmt::Formatter<'_>,
    files: Option<&(PathBuf, PathBuf)>,
    source: &KeyPairError,
) -> fmt::Result {
    match (files, source) {
        (None, _) => write!(f, "cannot use the certificate and its key: {source}"),
        (Some((_, key)), KeyPairError::Key(_)) => {
            write!(f, "cannot use the key {}: {source}", key.display())
        }
        (Some((certificate, key)), KeyPairError::Mismatch) => write!(
            f,
            "cannot use the certificate {} with the key {}: {source}",
            certificate.display(),
            key.display()
        ),
        (Some((certificate, _)), _) => {
            write!(
                f,
                "cannot use the certificate {}: {source}",
                certificate.display()
            )
        }
    }
}

fn write_listen_udp(
    f: &mut fmt::Formatter<'_>,
    address: SocketAddr,
    source: &io::Error,
) -> fmt::Result {
    write!(
        f,
        "cannot listen on UDP {address} for HTTP/3: {source}; stop the program that uses the port, or \
         omit --http3"
    )
}

fn write_listen(
    f: &mut fmt::Formatter<'_>,
    address: SocketAddr,
    source: &io::Error,
) -> fmt::Result {
    match source.kind() {
        io::ErrorKind::AddrInUse => write!(
            f,
            "cannot listen on {address}: it is in use already; stop the program that uses it, or \
             choose another port"
        ),
        io::ErrorKind::AddrNotAvailable => write!(
            f,
            "cannot listen on {address}: this machine does not have that address; choose another one"
        ),
        io::ErrorKind::PermissionDenied => write!(
            f,
            "cannot listen on {address}: not permitted; ports below 1024 need a privilege"
        ),
        _ if source.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => write!(
            f,
            "cannot listen on {address}: this machine has no IPv6; omit the address"
        ),
        _ => write!(f, "cannot listen on {address}: {source}"),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Directory { source, .. }
            | Self::WriteCa { source, .. }
            | Self::Write { source, .. }
            | Self::Listen { source, .. }
            | Self::ListenUdp { source, .. }
            | Self::Runtime(source) => Some(source),
            Self::Pem { source, .. } => Some(source),
            Self::KeyPair { source, .. } => Some(source),
            Self::Tls(error) => Some(error),
            Self::Certificates(error) => Some(error),
            Self::Multipath(error) => Some(error),
            _ => None,
        }
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<mtls_core::Error> for Error {
    fn from(error: mtls_core::Error) -> Self {
        Self::Multipath(Box::new(error))
    }
}
