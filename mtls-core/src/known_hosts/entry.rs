//! Entries: what is known of one host and port.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::path::Endpoint;

/// The longest time that an entry lasts; a longer `max-age` is shortened to this. Two years.
pub const MAX_AGE: Duration = Duration::from_secs(2 * 365 * 24 * 3600);

/// The longest time that an entry of [`Support::Neither`] lasts.
pub const MAX_NEITHER_AGE: Duration = Duration::from_secs(3600);

/// The most public keys that one entry keeps.
pub const MAX_KEYS: usize = 8;

/// The time after which a verified connection renews the times of its host's entry, in seconds. It
/// limits how often a store is written.
pub(super) const SEEN_INTERVAL: u64 = 3600;

/// The time by which an entry may be newer than this machine's clock, in seconds: machines that
/// share a store differ by less.
const CLOCK_SKEW: u64 = 24 * 3600;

/// The support of a server, as far as it was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Support {
    /// It sent no greeting, and resumed no session: nothing can verify it. Only a connection under
    /// [`Policy::Prefer`](crate::Policy::Prefer) uses this, for a short time, to go on without a
    /// side connection.
    Neither,
    /// A connection was verified by resumption.
    Resumes,
    /// A connection was verified by the side protocol.
    Greets,
}

/// The origin of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// The user's decision: the server cannot shorten or remove it.
    User,
    /// The response field `Multipath-TLS` of a verified connection.
    Field,
    /// The observation of a server that supports no verification ([`Support::Neither`]).
    Observed,
}

/// SHA-256 of a SubjectPublicKeyInfo, in hexadecimal as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyPin([u8; 32]);

/// The entry of one host and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HostEntry {
    /// The support of the server.
    pub support: Support,
    /// The origin of the entry.
    pub origin: Origin,
    /// The time of the statement that `max_age` counts from, in seconds since 1970-01-01 UTC.
    pub recorded: u64,
    /// The time that the entry lasts, in seconds.
    pub max_age: u64,
    /// The time of the last verified connection, in seconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<u64>,
    /// The address of the side verifier, if it is not the host and port itself.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "optional_endpoint"
    )]
    pub side_endpoint: Option<Endpoint>,
    /// Public keys of the certificates of verified connections, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyPin>,
    /// The raw public key of verified SMKEX connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_key: Option<KeyPin>,
    /// [`Support::Neither`]: the method and the side paths that showed it, as a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sides: Option<KeyPin>,
}

impl Support {
    /// A token for programs: `greets`, `resumes` or `neither`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Neither => "neither",
            Self::Resumes => "resumes",
            Self::Greets => "greets",
        }
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Origin {
    /// A token for programs: `user`, `field` or `observed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Field => "field",
            Self::Observed => "observed",
        }
    }
}

impl HostEntry {
    /// The time at which the entry expires, in seconds since 1970-01-01 UTC.
    pub fn expires(&self) -> u64 {
        let longest = match self.support {
            Support::Neither => MAX_NEITHER_AGE,
            _ => MAX_AGE,
        };
        let max_age = self.max_age.min(longest.as_secs());
        self.recorded.saturating_add(max_age)
    }

    /// Whether the entry no longer counts at `now`. One that was made in the future still counts if
    /// it strengthens connections, and does not if it weakens them.
    pub fn is_expired(&self, now: u64) -> bool {
        match self.support {
            Support::Neither => self.recorded > now || now >= self.expires(),
            _ => now >= self.expires(),
        }
    }

    /// Whether `renewed` differs from this entry in its times only, and by so little that it is not
    /// worth a write.
    pub(super) fn is_recent(&self, renewed: &Self, now: u64) -> bool {
        let interval = SEEN_INTERVAL.min(self.max_age / 24);
        let recent = self.recorded..self.recorded.saturating_add(interval);
        let same = Self {
            recorded: self.recorded,
            verified: self.verified,
            ..renewed.clone()
        };
        recent.contains(&now) && same == *self
    }

    /// Whether the entry was made later than `now`, beyond what clocks differ by: this machine's
    /// clock is wrong, or the entry is.
    pub fn is_from_the_future(&self, now: u64) -> bool {
        let latest = now.saturating_add(CLOCK_SKEW);
        self.recorded > latest || self.verified.is_some_and(|verified| verified > latest)
    }

    /// The key that a connection with this kind of authentication must compare with: whether it is
    /// remembered.
    pub(crate) fn has_key(&self, key: &KeyPin, raw: bool) -> bool {
        match raw {
            true => self.raw_key.as_ref() == Some(key),
            false => self.keys.contains(key),
        }
    }
}

impl KeyPin {
    /// The pin of a public key in DER (SubjectPublicKeyInfo).
    pub fn of(public_key: &[u8]) -> Self {
        Self(Sha256::digest(public_key).into())
    }
}

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPin({self})")
    }
}

impl FromStr for KeyPin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected SHA-256 as 64 lower-case hexadecimal digits";
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(EXPECTED);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let [high, low] = [pair[0], pair[1]].map(hex_digit);
            *byte = high.zip(low).map(|(h, l)| h << 4 | l).ok_or(EXPECTED)?;
        }
        Ok(Self(bytes))
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl Serialize for KeyPin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyPin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Endpoints as `HOST:PORT`.
pub(super) mod endpoint {
    use super::*;

    pub(in crate::known_hosts) fn serialize<S: Serializer>(
        endpoint: &Endpoint,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(endpoint)
    }

    pub(in crate::known_hosts) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Endpoint, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

mod optional_endpoint {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        endpoint: &Option<Endpoint>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        endpoint
            .as_ref()
            .map(Endpoint::to_string)
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Endpoint>, D::Error> {
        super::endpoint::deserialize(deserializer).map(Some)
    }
}
