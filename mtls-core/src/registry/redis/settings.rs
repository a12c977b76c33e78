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
/// It takes no password: an address is printed and logged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisAddress {
    /// TLS?
    pub tls: bool,
    /// The user to log in as.
    pub user: Option<String>,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The number of the database.
    pub database: i64,
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
        let tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(RedisAddressError::Scheme),
        };
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host_port) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(RedisAddressError::Password),
            Some((user, _)) if user.contains(QUERY) => return Err(RedisAddressError::Host),
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, authority),
        };
        let (host, port) = split_port(host_port)?;
        Ok(Self {
            tls,
            user: user.filter(|user| !user.is_empty()),
            host: host.to_owned(),
            port: port
                .map_or(Ok(6379), str::parse)
                .map_err(|_| RedisAddressError::Port)?,
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
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        write!(f, ":{}", self.port)?;
        match self.database {
            0 => Ok(()),
            number => write!(f, "/{number}"),
        }
    }
}

impl fmt::Display for RedisAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "expected `redis://` or `rediss://`",
            Self::Password => {
                "it holds a password, which other users could read; put it into a file or the \
                 environment"
            }
            Self::Host => "expected `redis://[USER@]HOST[:PORT][/DATABASE]`",
            Self::Port => "expected a port from 0 to 65535",
            Self::Database => "expected the number of a database",
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
