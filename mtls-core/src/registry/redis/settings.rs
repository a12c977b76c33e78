//! The address of an engine, and the login.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use zeroize::Zeroizing;

use crate::registry::ServiceId;

/// The settings of a [`RedisEngine`](super::RedisEngine).
///
/// ```
/// use mtls_core::registry::ServiceId;
/// use mtls_core::registry::redis::{RedisAddressError, RedisSettings};
///
/// # fn main() -> Result<(), RedisAddressError> {
/// let address = "rediss://fleet@engine-1.internal:6380".parse()?;
/// let mut settings = RedisSettings::new(address, ServiceId::from_name("shop"));
/// settings.password = Some("from a file".to_owned().into());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisSettings {
    /// The server.
    pub address: RedisAddress,
    /// The fleet, by the name of its service: fleets on one engine do not see each other.
    pub fleet: ServiceId,
    /// The password of the address's user, or of the default user.
    pub password: Option<Zeroizing<String>>,
    /// TLS to the server. Set it for an address of `rediss://`.
    pub tls: Option<Arc<ClientConfig>>,
    /// The time limit of a command, after which the connection is closed. Default: 500 ms.
    pub response_timeout: Duration,
    /// The time limit of connecting and logging in. Default: 1 s.
    pub connect_timeout: Duration,
}

/// `redis://[USER@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS; `valkey://` and `valkeys://`
/// mean the same.
///
/// `redis+sentinel://[USER@]HOST[:PORT][+HOST[:PORT]…]/NAME[/DATABASE]` is the primary of this name,
/// as these Sentinels know it. The user is one of the primary; Sentinels get no login.
///
/// It takes no password: an address is printed and logged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisAddress {
    /// TLS to the server, and to the Sentinels?
    pub tls: bool,
    /// The user to log in as.
    pub user: Option<String>,
    /// The place of the server.
    pub location: RedisLocation,
    /// The number of the database.
    pub database: i64,
}

/// The place of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisLocation {
    /// Always the same.
    Server(RedisHost),
    /// The one that Sentinels name.
    Sentinels {
        /// The Sentinels, at least one.
        sentinels: Vec<RedisHost>,
        /// The name under which they watch the primary.
        primary: String,
    },
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisHost {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Error of parsing the address of an engine.
///
/// ```
/// use mtls_core::registry::redis::{RedisAddress, RedisAddressError};
///
/// let error = "redis://fleet:s3cret@engine".parse::<RedisAddress>().unwrap_err();
/// assert_eq!(error, RedisAddressError::Password);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisAddressError {
    /// No scheme that names an engine.
    Scheme,
    /// It holds a password.
    Password,
    /// No host.
    Host,
    /// The port is no port.
    Port,
    /// The database is no number.
    Database,
    /// Sentinels without the name of a primary.
    Primary,
}

impl RedisSettings {
    /// Settings for the fleet of this service, without a password and without TLS.
    pub fn new(address: RedisAddress, fleet: ServiceId) -> Self {
        Self {
            address,
            fleet,
            password: None,
            tls: None,
            response_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(1),
        }
    }
}

impl FromStr for RedisAddress {
    type Err = RedisAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(RedisAddressError::Scheme)?;
        let (scheme, by_sentinels) = match scheme.strip_suffix("+sentinel") {
            Some(scheme) => (scheme, true),
            None => (scheme, false),
        };
        let tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(RedisAddressError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(RedisAddressError::Password),
            Some((user, _)) if user.contains(QUERY) => return Err(RedisAddressError::Host),
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, authority),
        };
        let (location, database) = match by_sentinels {
            true => sentinels(hosts, path)?,
            false => (RedisLocation::Server(host(hosts, SERVER_PORT)?), path),
        };
        Ok(Self {
            tls,
            user: user.filter(|user| !user.is_empty()),
            location,
            database: match database {
                "" => 0,
                number => number
                    .parse::<u16>()
                    .map_err(|_| RedisAddressError::Database)?
                    .into(),
            },
        })
    }
}

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Sentinels and the name of their primary, and the rest of the path.
fn sentinels<'a>(
    hosts: &str,
    path: &'a str,
) -> Result<(RedisLocation, &'a str), RedisAddressError> {
    let (primary, database) = path.split_once('/').unwrap_or((path, ""));
    if primary.is_empty() || primary.contains(QUERY) {
        return Err(RedisAddressError::Primary);
    }
    let sentinels = hosts.split('+').map(|text| host(text, SENTINEL_PORT));
    let location = RedisLocation::Sentinels {
        sentinels: sentinels.collect::<Result<_, _>>()?,
        primary: primary.to_owned(),
    };
    Ok((location, database))
}

fn host(text: &str, default_port: u16) -> Result<RedisHost, RedisAddressError> {
    let (host, port) = split_port(text)?;
    Ok(RedisHost {
        host: host.to_owned(),
        port: port
            .map_or(Ok(default_port), str::parse)
            .map_err(|_| RedisAddressError::Port)?,
    })
}

/// Characters that begin a query, in which other programs take a password, or a fragment.
const QUERY: [char; 2] = ['?', '#'];

fn split_port(text: &str) -> Result<(&str, Option<&str>), RedisAddressError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(RedisAddressError::Host)?;
            match rest {
                "" => (host, None),
                rest => (
                    host,
                    Some(rest.strip_prefix(':').ok_or(RedisAddressError::Port)?),
                ),
            }
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let bad = |c: char| c.is_whitespace() || c == '@' || QUERY.contains(&c);
    let fits = !host.is_empty() && !host.contains(bad);
    fits.then_some((host, port)).ok_or(RedisAddressError::Host)
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "rediss" } else { "redis" })?;
        let user = self.user.iter().map(|user| format!("{user}@"));
        let user = user.collect::<String>();
        match &self.location {
            RedisLocation::Server(host) => write!(f, "://{user}{host}")?,
            RedisLocation::Sentinels { sentinels, primary } => {
                let hosts: Vec<_> = sentinels.iter().map(RedisHost::to_string).collect();
                write!(f, "+sentinel://{user}{}/{primary}", hosts.join("+"))?;
            }
        }
        match self.database {
            0 => Ok(()),
            number => write!(f, "/{number}"),
        }
    }
}

impl fmt::Display for RedisHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for RedisAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => {
                "expected `redis://`, `rediss://`, `redis+sentinel://` or `rediss+sentinel://`"
            }
            Self::Password => {
                "it holds a password, which other users could read; put it into a file or the \
                 environment"
            }
            Self::Host => "expected `redis://[USER@]HOST[:PORT][/DATABASE]`",
            Self::Port => "expected a port from 0 to 65535",
            Self::Database => "expected the number of a database",
            Self::Primary => {
                "expected the name of the primary, `redis+sentinel://HOST[+HOST…]/NAME[/DATABASE]`"
            }
        })
    }
}

impl std::error::Error for RedisAddressError {}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("address", &self.address)
            .field("fleet", &self.fleet)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
