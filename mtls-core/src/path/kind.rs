//! The kinds of paths, and their notation in the programs.

use core::fmt;
use core::str::FromStr;

use serde::{Serialize, Serializer};

use super::address::{HostAddress, is_interface_name};
use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::spec_error::PathSpecError;

/// The kind of a path. Displayed, parsed and serialized as the programs write it:
/// `direct`, `if:NAME`, `src:IP`, `socks5h://HOST:PORT`, `http://HOST:PORT`, `mptcp:NAME`,
/// `mptcp:src:IP`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathKind {
    /// As the system routes.
    Direct,
    /// Out of this network interface, whatever the routes say.
    Interface(String),
    /// From this address of the host.
    Source(HostAddress),
    /// Through this SOCKS5 proxy, which resolves the names.
    Socks5(Endpoint),
    /// Through this HTTP proxy, by CONNECT; it resolves the names.
    HttpConnect(Endpoint),
    /// Inside the primary connection, on a further subflow of Multipath TCP.
    Mptcp(SubflowSource),
}

/// The network of a further subflow of Multipath TCP. Displayed as `NAME` or `src:IP`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubflowSource {
    /// This interface, and its address toward the server.
    Interface(String),
    /// This address of the host, as the system routes it.
    Source(HostAddress),
}

impl fmt::Display for SubflowSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => f.write_str(name),
            Self::Source(ip) => write!(f, "src:{ip}"),
        }
    }
}

impl PathKind {
    /// The proxy, where there is one.
    #[must_use]
    pub fn proxy(&self) -> Option<&Endpoint> {
        match self {
            Self::Socks5(proxy) | Self::HttpConnect(proxy) => Some(proxy),
            Self::Direct | Self::Interface(_) | Self::Source(_) | Self::Mptcp(_) => None,
        }
    }

    /// Checks that the path's proxy accepts these.
    pub(super) fn check(&self, credentials: &Credentials) -> Result<(), PathSpecError> {
        match self {
            Self::Socks5(_) => Ok(()),
            Self::HttpConnect(_) if credentials.user_has_colon() => Err(
                PathSpecError::Credentials("an HTTP proxy takes no user name with a colon"),
            ),
            Self::HttpConnect(_) => Ok(()),
            _ => Err(PathSpecError::Credentials(
                "this path has no proxy to take them",
            )),
        }
    }
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Interface(name) => write!(f, "if:{name}"),
            Self::Source(ip) => write!(f, "src:{ip}"),
            Self::Socks5(proxy) => write!(f, "socks5h://{proxy}"),
            Self::HttpConnect(proxy) => write!(f, "http://{proxy}"),
            Self::Mptcp(source) => write!(f, "mptcp:{source}"),
        }
    }
}

impl Serialize for PathKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Refuses credentials: they belong to a [`Path`](super::Path).
impl FromStr for PathKind {
    type Err = PathSpecError;

    fn from_str(text: &str) -> Result<Self, PathSpecError> {
        match parse(text)? {
            (kind, None) => Ok(kind),
            (_, Some(_)) => Err(PathSpecError::Unexpected("credentials")),
        }
    }
}

/// Parses the notation of a path, with its credentials.
pub(super) fn parse(text: &str) -> Result<(PathKind, Option<Credentials>), PathSpecError> {
    if text == "direct" {
        return Ok((PathKind::Direct, None));
    }
    if let Some(name) = text.strip_prefix("if:") {
        return Ok((PathKind::Interface(interface_name(name)?.into()), None));
    }
    if let Some(ip) = text.strip_prefix("src:") {
        return Ok((PathKind::Source(source_address(ip)?), None));
    }
    if let Some(source) = text.strip_prefix("mptcp:") {
        return Ok((PathKind::Mptcp(subflow_source(source)?), None));
    }
    let is_scheme = |scheme: &str| scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => return Err(PathSpecError::UnknownForm(without_secret(text))),
    };
    let make = match scheme.to_ascii_lowercase().as_str() {
        "socks5h" => PathKind::Socks5,
        "http" => PathKind::HttpConnect,
        "socks5" => return Err(PathSpecError::Socks5ResolvesHere),
        other => return Err(PathSpecError::UnknownScheme(other.into())),
    };
    let (credentials, proxy) = match rest.rsplit_once('@') {
        Some((userinfo, proxy)) => (Some(Credentials::parse(userinfo)?), proxy),
        None => (None, rest),
    };
    let proxy = proxy.strip_suffix('/').unwrap_or(proxy);
    let proxy = proxy.parse().map_err(PathSpecError::Proxy)?;
    let kind = make(proxy);
    if let Some(credentials) = &credentials {
        kind.check(credentials)?;
    }
    Ok((kind, credentials))
}

pub(super) fn interface_name(name: &str) -> Result<&str, PathSpecError> {
    match is_interface_name(name) {
        true => Ok(name),
        false => Err(PathSpecError::InterfaceName(
            name.escape_debug().to_string(),
        )),
    }
}

fn subflow_source(text: &str) -> Result<SubflowSource, PathSpecError> {
    Ok(match text.strip_prefix("src:") {
        Some(ip) => SubflowSource::Source(source_address(ip)?),
        None => SubflowSource::Interface(interface_name(text)?.into()),
    })
}

fn source_address(text: &str) -> Result<HostAddress, PathSpecError> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(text).parse() {
        Ok(address) => check_source(address),
        Err(_) => Err(PathSpecError::SourceAddress(
            text.escape_debug().to_string(),
        )),
    }
}

/// An unspecified or multicast address is the source of nothing.
pub(super) fn check_source(address: HostAddress) -> Result<HostAddress, PathSpecError> {
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(PathSpecError::SourceAddress(address.to_string()));
    }
    Ok(address)
}

/// Omits the text before an `@`, which may be a secret.
fn without_secret(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{}", rest.escape_debug()),
        None => text.escape_debug().to_string(),
    }
}
