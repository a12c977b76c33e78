//! Where to connect to: a host, by name or by address, and a port.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

/// The longest host name, in bytes (RFC 1035, section 2.3.4, in text form).
const MAX_HOST_NAME: usize = 253;

/// A host, by name or by address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name that has to be resolved.
    Name(HostName),
    /// An address: DNS is never asked.
    Ip(IpAddr),
}

impl FromStr for Host {
    type Err = EndpointError;

    /// Parses a name, an IPv4 address, or an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(inner) = bare {
            return match inner.parse::<Ipv6Addr>() {
                Ok(ip) => Ok(Self::Ip(ip.into())),
                Err(_) => Err(EndpointError::NotAnIpv6Address(inner.into())),
            };
        }
        match text.parse::<IpAddr>() {
            Ok(ip) => Ok(Self::Ip(ip)),
            Err(_) => HostName::new(text).map(Self::Name),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

/// As in a URL: an IPv6 address is in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// A host name in lower case, of letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(Box<str>);

impl HostName {
    /// Takes a name.
    ///
    /// # Errors
    /// When the name is empty or longer than 253 bytes (RFC 1035), has an empty label or another
    /// character, or ends in a number: such a name is an address in some old notation, and
    /// whether it means one depends on who reads it.
    pub fn new(name: &str) -> Result<Self, EndpointError> {
        let labels = name.strip_suffix('.').unwrap_or(name);
        if labels.is_empty() {
            return Err(EndpointError::NoHost);
        }
        if labels.len() > MAX_HOST_NAME {
            return Err(EndpointError::HostTooLong(labels.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if let Some(bad) = name.chars().find(|&c| !allowed(c)) {
            return Err(EndpointError::BadCharacter {
                host: name.into(),
                character: bad,
            });
        }
        if labels
            .split('.')
            .any(|label| label.is_empty() || label.len() > 63)
        {
            return Err(EndpointError::BadLabel(name.into()));
        }
        if labels.rsplit('.').next().is_some_and(is_number) {
            return Err(EndpointError::NotAnIpv4Address(name.into()));
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both name the same host: a final dot does not count.
    pub(super) fn is(&self, other: &Self) -> bool {
        let bare = |name: &Self| name.0.trim_end_matches('.').to_owned();
        bare(self) == bare(other)
    }
}

fn is_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// A host and a port, written `HOST:PORT`, an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// Puts both together.
    #[must_use]
    pub fn new(host: impl Into<Host>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }
}

impl From<HostName> for Host {
    fn from(name: HostName) -> Self {
        Self::Name(name)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(EndpointError::BracketsMissing(text.into()));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| EndpointError::NoPort(text.into()))?;
        if text.ends_with(']') {
            return Err(EndpointError::NoPort(text.into()));
        }
        if host.contains(':') && !host.starts_with('[') {
            return Err(EndpointError::BracketsMissing(host.into()));
        }
        let bad_port = || EndpointError::BadPort(port.into());
        // `u16::from_str` would take a sign.
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad_port());
        }
        match port.parse() {
            Ok(0) | Err(_) => Err(bad_port()),
            Ok(port) => Ok(Self {
                host: host.parse()?,
                port,
            }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why a text is no [`Endpoint`] or [`Host`].
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
    /// What stands in brackets is no IPv6 address.
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
                    "`{host}` is not ASCII; write the name in its `xn--` form"
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
                    "`[{host}]` is not an IPv6 address (zones are not supported)"
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
