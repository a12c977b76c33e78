//! Endpoints: a host, by name or by address, and a port.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use super::address::HostAddress;
use super::endpoint_error::{EndpointError, MAX_HOST_NAME};

/// A host, by name or by address, in one canonical form: whatever decides about a host and
/// whatever connects to it see the same, however the host was spelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name that has to be resolved.
    Name(HostName),
    /// An address: DNS is never asked.
    Ip(HostAddress),
}

impl FromStr for Host {
    type Err = EndpointError;

    /// Parses a name, an IPv4 address, or an IPv6 address with or without brackets and a zone.
    ///
    /// With the feature `idn`, international names, and IPv4 addresses in the older notations
    /// that browsers and inet_aton(3) know: `127.1`, `0x7f.0.0.1`, `0177.0.0.1`, `2130706433`.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(inner) = bare {
            return match inner.parse::<HostAddress>() {
                // Brackets are for IPv6 only.
                Ok(address) if inner.contains(':') => Ok(Self::Ip(address)),
                _ => Err(EndpointError::NotAnIpv6Address(inner.into())),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        match HostName::new(text) {
            Err(EndpointError::NotAnIpv4Address(_)) => match Foreign::parse(text) {
                Some(Foreign::Ip(ip)) => Ok(IpAddr::from(ip).into()),
                _ => Err(EndpointError::NotAnIpv4Address(text.into())),
            },
            name => name.map(Self::Name),
        }
    }
}

/// A host in a notation other than ours.
#[cfg_attr(not(feature = "idn"), allow(dead_code))]
enum Foreign {
    /// In ASCII.
    Name(String),
    Ip(Ipv4Addr),
}

impl Foreign {
    /// Maps international names and digits to ASCII (UTS #46), and numbers to an IPv4 address, as
    /// the URL standard does.
    #[cfg(feature = "idn")]
    fn parse(text: &str) -> Option<Self> {
        // Bounds the mapping's work. A `%` would be decoded, which no other form of a host is.
        if text.len() > 4 * MAX_HOST_NAME || text.contains('%') {
            return None;
        }
        match url::Host::parse(text).ok()? {
            url::Host::Domain(name) => Some(Self::Name(name)),
            url::Host::Ipv4(ip) => Some(Self::Ip(ip)),
            url::Host::Ipv6(_) => None,
        }
    }

    #[cfg(not(feature = "idn"))]
    fn parse(_: &str) -> Option<Self> {
        None
    }
}

impl From<HostAddress> for Host {
    fn from(address: HostAddress) -> Self {
        Self::Ip(address)
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.into())
    }
}

/// As in a URL: an IPv6 address is in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::Ip(address) if address.ip().is_ipv4() => address.fmt(f),
            Self::Ip(address) => write!(f, "[{address}]"),
        }
    }
}

/// A host name in lower case, of letters, digits, `-`, `_` and `.`; international labels are in
/// their `xn--` form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(Box<str>);

impl HostName {
    /// Takes a name, and maps an international one to ASCII (UTS #46).
    ///
    /// # Errors
    /// If the name is empty or longer than 253 bytes (RFC 1035), has an empty label or another
    /// character, or ends in a number: such a name is an address in some old notation, which
    /// [`Host`] parses. Without the feature `idn`, also when it is not ASCII.
    pub fn new(name: &str) -> Result<Self, EndpointError> {
        if let Some(character) = name.chars().find(|c| !c.is_ascii()) {
            return match Foreign::parse(name) {
                Some(Foreign::Name(name)) => Self::of_ascii(&name),
                Some(Foreign::Ip(_)) => Err(EndpointError::NotAnIpv4Address(name.into())),
                None => Err(EndpointError::BadCharacter {
                    host: name.into(),
                    character,
                }),
            };
        }
        Self::of_ascii(name)
    }

    fn of_ascii(name: &str) -> Result<Self, EndpointError> {
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

    /// Returns whether both name the same host; a final dot is ignored.
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

    /// The same endpoint without the final dot of its name.
    pub(crate) fn without_final_dot(&self) -> Self {
        let host = match &self.host {
            Host::Name(HostName(name)) => Host::Name(HostName(name.trim_end_matches('.').into())),
            address => address.clone(),
        };
        Self {
            host,
            port: self.port,
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
            host: Host::Ip(address.into()),
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
