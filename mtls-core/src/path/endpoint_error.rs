//! Errors of parsing an endpoint, a host or an address.

use core::fmt;

/// The longest host name, in bytes (RFC 1035, section 2.3.4, in text form).
pub(super) const MAX_HOST_NAME: usize = 253;

/// Error of parsing an [`Endpoint`](super::Endpoint) or a [`Host`](super::Host).
///
/// ```
/// use mtls_core::path::{Endpoint, EndpointError};
///
/// let error = "example.org".parse::<Endpoint>().unwrap_err();
/// assert_eq!(error, EndpointError::NoPort("example.org".to_owned()));
/// assert_eq!(error.to_string(), "`example.org` has no port; write HOST:PORT");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// There is no host.
    NoHost,
    /// The host name has this many bytes, more than 253.
    HostTooLong(usize),
    /// A character that no host name has.
    BadCharacter {
        /// The name.
        host: String,
        /// The character.
        character: char,
    },
    /// A part between two dots is empty or longer than 63 bytes.
    BadLabel(String),
    /// It ends in a number as an address does, but is none.
    NotAnIpv4Address(String),
    /// The text in brackets is not an IPv6 address.
    NotAnIpv6Address(String),
    /// An IPv6 address without brackets.
    BracketsMissing(String),
    /// There is no port.
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    BadPort(String),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost => f.write_str("the host is missing; write HOST:PORT"),
            Self::HostTooLong(len) => {
                write!(
                    f,
                    "a host name of {len} bytes; at most {MAX_HOST_NAME} are allowed"
                )
            }
            Self::BadCharacter { host, character } if !character.is_ascii() => {
                write!(
                    f,
                    "`{}` is not an international host name; write it in its `xn--` form",
                    host.escape_debug()
                )
            }
            Self::BadCharacter { host, character } => {
                write!(
                    f,
                    "`{}` has a character that no host name has: {character:?}",
                    host.escape_debug()
                )
            }
            Self::BadLabel(host) => {
                write!(
                    f,
                    "`{host}` has an empty part or one of more than 63 bytes between its dots"
                )
            }
            Self::NotAnIpv4Address(host) => {
                write!(
                    f,
                    "`{host}` ends in a number, but is not an IPv4 address of four numbers"
                )
            }
            Self::NotAnIpv6Address(host) => {
                write!(
                    f,
                    "`[{}]` is not an IPv6 address, or not with the name of an interface as zone",
                    host.escape_debug()
                )
            }
            Self::BracketsMissing(host) => {
                write!(
                    f,
                    "write the IPv6 address in brackets and a port: `[{host}]:PORT`"
                )
            }
            Self::NoPort(text) => write!(f, "`{text}` has no port; write HOST:PORT"),
            Self::BadPort(port) => write!(f, "`{port}` is not a port from 1 to 65535"),
        }
    }
}

impl std::error::Error for EndpointError {}
