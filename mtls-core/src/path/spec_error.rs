//! Errors of parsing a path.

use core::fmt;

use super::address::MAX_INTERFACE_NAME;
use super::endpoint_error::EndpointError;

/// The forms that a path is written in.
const FORMS: &str = "direct, if:NAME, src:IP, socks5h://HOST:PORT, http://HOST:PORT, mptcp:NAME, \
                     mptcp:src:IP";

/// Error of parsing a [`Path`](super::Path) or [`PathKind`](super::PathKind).
///
/// ```
/// use mtls_core::path::{Path, PathSpecError};
///
/// let error = "socks5://192.0.2.1:1080".parse::<Path>().unwrap_err();
/// assert_eq!(error, PathSpecError::Socks5ResolvesHere);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathSpecError {
    /// None of the forms.
    UnknownForm(String),
    /// A proxy of another kind.
    UnknownScheme(String),
    /// `socks5://` says that names are resolved here, where the primary path's attacker sees them.
    Socks5ResolvesHere,
    /// Not the name of an interface.
    InterfaceName(String),
    /// Not an address of a host.
    SourceAddress(String),
    /// The proxy's `HOST:PORT` is wrong.
    Proxy(EndpointError),
    /// The user name or password of the proxy is wrong; never shown.
    Credentials(&'static str),
    /// Something that has no place here.
    Unexpected(&'static str),
}

impl fmt::Display for PathSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownForm(text) => write!(f, "`{text}` is not a path; write one of {FORMS}"),
            Self::UnknownScheme(scheme) => {
                write!(
                    f,
                    "`{scheme}://` is not a kind of proxy known here; write one of {FORMS}"
                )
            }
            Self::Socks5ResolvesHere => f.write_str(
                "`socks5://` would resolve names on this host; write `socks5h://HOST:PORT`, \
                 with which the proxy resolves them",
            ),
            Self::InterfaceName(name) => write!(
                f,
                "`{name}` is not an interface name (1 to {MAX_INTERFACE_NAME} bytes, no space, \
                 `/` or `:`); write `if:NAME`"
            ),
            Self::SourceAddress(text) => {
                write!(f, "`{text}` is not an address of a host; write `src:IP`")
            }
            Self::Proxy(error) => write!(f, "the proxy's address is wrong: {error}"),
            Self::Credentials(what) => write!(f, "the proxy's credentials are wrong: {what}"),
            Self::Unexpected(what) => write!(f, "{what} cannot stand here"),
        }
    }
}

impl std::error::Error for PathSpecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Proxy(error) => Some(error),
            _ => None,
        }
    }
}
