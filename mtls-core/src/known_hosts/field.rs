//! The response field `Multipath-TLS`, by which a server requests to be remembered
//! (`docs/protocol.md`, section 13.3).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::change::{Change, Remember};
use super::entry::MAX_AGE;
use crate::path::{Endpoint, Host};
use crate::verdict::{PathRole, Verdict};

/// The name of the field, in lower case.
pub const FIELD_NAME: &str = "multipath-tls";

/// The longest value that is parsed, in bytes.
const MAX_VALUE: usize = 1024;

/// The value of the field `Multipath-TLS`: a dictionary of RFC 9651 such as
/// `max-age=31536000;side-endpoint="side.example.org:9443"`.
///
/// ```
/// use std::time::Duration;
///
/// use mtls_core::known_hosts::Advertisement;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Advertisement::new(Duration::from_secs(86_400)).side_endpoint("side.test:9443".parse()?);
/// assert_eq!(server.to_string(), r#"max-age=86400;side-endpoint="side.test:9443""#);
/// let client: Advertisement = server.to_string().as_bytes().try_into()?;
/// assert_eq!(client, server);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Advertisement {
    max_age: Duration,
    side_endpoint: Option<Endpoint>,
}

/// Error of a value of the field. A client ignores such a field, and reports it.
///
/// ```
/// use mtls_core::known_hosts::{Advertisement, AdvertisementError};
///
/// let error = Advertisement::try_from(&b"max-age=soon"[..]).unwrap_err();
/// assert_eq!(error, AdvertisementError::MaxAge);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdvertisementError {
    /// The value is no dictionary of RFC 9651, or too long.
    Malformed(String),
    /// There is no `max-age` that is a whole number of seconds of at least 0.
    MaxAge,
    /// `side-endpoint` is no string `"HOST:PORT"`.
    SideEndpoint(String),
    /// `side-endpoint` is on this machine or in this network, and the server is not.
    LocalSideEndpoint(Endpoint),
}

impl Advertisement {
    /// Requests to be remembered for this time, in whole seconds, at most [`MAX_AGE`]. Zero requests to
    /// be forgotten.
    pub fn new(max_age: Duration) -> Self {
        Self {
            max_age: Duration::from_secs(max_age.min(MAX_AGE).as_secs()),
            side_endpoint: None,
        }
    }

    /// Sets the address of the side verifier, if it is not the server's host and port.
    pub fn side_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.side_endpoint = Some(endpoint);
        self
    }

    /// The time to be remembered.
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// The change that the field of a response makes in the entry of `host`; `None` if the
    /// connection of the response was not verified by the side protocol: an attacker may have
    /// written it.
    ///
    /// # Errors
    /// If a client must not follow it: see [`AdvertisementError::LocalSideEndpoint`].
    pub fn change(
        self,
        host: &Endpoint,
        verdict: &Verdict,
    ) -> Result<Option<Change>, AdvertisementError> {
        let Some(forget) = Change::forget(verdict) else {
            return Ok(None);
        };
        if self.max_age.is_zero() {
            return Ok(Some(forget));
        }
        let endpoint = self.side_endpoint.filter(|endpoint| endpoint != host);
        if let Some(endpoint) = endpoint
            .as_ref()
            .filter(|endpoint| is_local(&endpoint.host))
            && !is_local(&host.host)
            && !is_at_local_address(verdict)
        {
            return Err(AdvertisementError::LocalSideEndpoint(endpoint.clone()));
        }
        Ok(Change::remember(
            verdict,
            Remember::by_field(self.max_age, endpoint),
        ))
    }
}

/// A server in the public network must not direct its clients to machines around them.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Ip(address) => {
            let aliases = address.aliases();
            is_local_address(address.ip()) || aliases.into_iter().any(is_local_address)
        }
        Host::Name(name) => {
            let name = name.as_str().trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

fn is_at_local_address(verdict: &Verdict) -> bool {
    let primary = verdict
        .paths
        .iter()
        .find(|path| path.role == PathRole::Primary);
    let direct = primary.filter(|path| path.via.as_ref().is_none_or(|via| via.proxy().is_none()));
    direct
        .and_then(|path| path.peer)
        .is_some_and(|peer| is_local_address(peer.ip()))
}

fn is_local_address(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
                // Shared address space of carriers (RFC 6598).
                || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    }
}

impl TryFrom<&[u8]> for Advertisement {
    type Error = AdvertisementError;

    /// Parses a value. Unknown members and parameters are ignored.
    fn try_from(value: &[u8]) -> Result<Self, AdvertisementError> {
        if value.len() > MAX_VALUE {
            let reason = format!("longer than {MAX_VALUE} bytes");
            return Err(AdvertisementError::Malformed(reason));
        }
        let members: Dictionary = Parser::new(value)
            .parse()
            .map_err(|error: sfv::Error| AdvertisementError::Malformed(error.to_string()))?;
        let max_age = match members.get("max-age") {
            Some(ListEntry::Item(item)) => item,
            _ => return Err(AdvertisementError::MaxAge),
        };
        let seconds = match &max_age.bare_item {
            BareItem::Integer(seconds) => u64::try_from(i64::from(*seconds)).ok(),
            _ => None,
        };
        let seconds = seconds.ok_or(AdvertisementError::MaxAge)?;
        Ok(Self {
            side_endpoint: side_endpoint(max_age)?,
            ..Self::new(Duration::from_secs(seconds))
        })
    }
}

fn side_endpoint(max_age: &Item) -> Result<Option<Endpoint>, AdvertisementError> {
    match max_age.params.get("side-endpoint") {
        None => Ok(None),
        Some(BareItem::String(text)) => match text.as_str().parse() {
            Ok(endpoint) => Ok(Some(endpoint)),
            Err(_) => Err(AdvertisementError::SideEndpoint(text.as_str().to_owned())),
        },
        Some(_) => Err(AdvertisementError::SideEndpoint("no string".to_owned())),
    }
}

/// The value of the field.
impl fmt::Display for Advertisement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max-age={}", self.max_age.as_secs())?;
        match &self.side_endpoint {
            // An endpoint has no character that RFC 9651 escapes.
            Some(endpoint) => write!(f, r#";side-endpoint="{endpoint}""#),
            None => Ok(()),
        }
    }
}

impl fmt::Display for AdvertisementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the field Multipath-TLS is ignored: ")?;
        match self {
            Self::Malformed(reason) => write!(f, "it is no dictionary of RFC 9651: {reason}"),
            Self::MaxAge => f.write_str("expected `max-age=SECONDS`"),
            Self::SideEndpoint(value) => {
                let value = value.escape_default();
                write!(f, "expected `side-endpoint=\"HOST:PORT\"`, got `{value}`")
            }
            Self::LocalSideEndpoint(endpoint) => write!(
                f,
                "its side endpoint {endpoint} is in this machine's own network, and the server is not"
            ),
        }?;
        f.write_str("; notify the server's operator")
    }
}

impl std::error::Error for AdvertisementError {}
