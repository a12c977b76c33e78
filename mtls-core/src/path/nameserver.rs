//! Nameservers, and their notation in the programs.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use super::endpoint::{Endpoint, Host};
use super::endpoint_error::EndpointError;

/// The path of a DNS-over-HTTPS server whose URL has none (RFC 8484, section 4.1.1).
const DNS_QUERY: &str = "/dns-query";

/// A nameserver, written `ADDR[:PORT]`, `tls://HOST[:PORT]` or `https://HOST[:PORT][/PATH]`.
///
/// ```
/// use mtls_core::path::Nameserver;
/// let server: Nameserver = "tls://9.9.9.9:853".parse()?;
/// assert_eq!(server.to_string(), "tls://9.9.9.9");
/// # Ok::<(), mtls_core::path::NameserverError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Nameserver {
    /// DNS over UDP, and over TCP where an answer is too long for UDP. Default port 53.
    Plain(SocketAddr),
    /// DNS over TLS (RFC 7858). Default port 853.
    Tls(Endpoint),
    /// DNS over HTTPS by HTTP/2 (RFC 8484), at this path. Default port 443.
    Https(Endpoint, String),
}

impl From<SocketAddr> for Nameserver {
    fn from(address: SocketAddr) -> Self {
        Self::Plain(address)
    }
}

impl fmt::Display for Nameserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) if address.port() == 53 => address.ip().fmt(f),
            Self::Plain(address) => address.fmt(f),
            Self::Tls(endpoint) => write!(f, "tls://{}", Authority(endpoint, 853)),
            Self::Https(endpoint, path) => {
                write!(f, "https://{}{path}", Authority(endpoint, 443))
            }
        }
    }
}

/// A host, and its port where that is not the default.
struct Authority<'a>(&'a Endpoint, u16);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port == self.1 {
            true => self.0.host.fmt(f),
            false => self.0.fmt(f),
        }
    }
}

impl FromStr for Nameserver {
    type Err = NameserverError;

    fn from_str(text: &str) -> Result<Self, NameserverError> {
        if let Some(rest) = text.strip_prefix("tls://") {
            let authority = rest.strip_suffix('/').unwrap_or(rest);
            return Ok(Self::Tls(endpoint(authority, 853)?));
        }
        if let Some(rest) = text.strip_prefix("https://") {
            let (authority, path) = match rest.find('/') {
                Some(at) if &rest[at..] != "/" => rest.split_at(at),
                Some(at) => (&rest[..at], DNS_QUERY),
                None => (rest, DNS_QUERY),
            };
            let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'{' | b'}');
            if !path.bytes().all(allowed) {
                return Err(NameserverError::Path);
            }
            return Ok(Self::Https(endpoint(authority, 443)?, path.into()));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        let address = match bare.parse::<IpAddr>() {
            Ok(ip) => Ok(SocketAddr::new(ip, 53)),
            Err(_) => text.parse().map_err(|_| NameserverError::UnknownForm),
        }?;
        match address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
            true => Err(NameserverError::UnknownForm),
            false => Ok(Self::Plain(address)),
        }
    }
}

fn endpoint(authority: &str, port: u16) -> Result<Endpoint, NameserverError> {
    // Credentials, which no error may show.
    if authority.contains('@') {
        return Err(NameserverError::UnknownForm);
    }
    let host = authority
        .parse::<Host>()
        .map(|host| Endpoint::new(host, port));
    host.or_else(|_| authority.parse())
        .map_err(NameserverError::Host)
}

/// Error of parsing a [`Nameserver`].
///
/// ```
/// use mtls_core::path::{Nameserver, NameserverError};
///
/// let error = "udp://192.0.2.1".parse::<Nameserver>().unwrap_err();
/// assert_eq!(error, NameserverError::UnknownForm);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameserverError {
    /// None of the known forms.
    UnknownForm,
    /// The host or the port of a URL.
    Host(EndpointError),
    /// The path of an `https` URL has a query, a fragment, a template or a control character.
    Path,
}

impl fmt::Display for NameserverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownForm => f.write_str(
                "not a nameserver; write ADDR, ADDR:PORT, tls://HOST or https://HOST/PATH",
            ),
            Self::Host(error) => error.fmt(f),
            Self::Path => f.write_str("not the URL of a nameserver; write https://HOST/PATH"),
        }
    }
}

impl std::error::Error for NameserverError {}
