//! The policy of an endpoint (`docs/protocol.md`, section 6).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The policy of an endpoint for connections that are not verified (`docs/protocol.md`, section 6).
/// There is no default.
///
/// A wrong value or an unknown handshake is an interception under every policy: `Require` and
/// `Prefer` refuse, `Observe` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Fails closed: the application never sees a connection that is not verified.
    Require,
    /// A client falls back to plain TLS only where the side path cannot be dialled or its first
    /// bytes are not the greeting. An attacker who can block the side path can force that, so this
    /// does not protect against such an attacker. With [`Method::Resumption`](crate::Method::Resumption)
    /// it does so where the side path cannot be dialled, or the server resumes no session and shows
    /// the same key on both paths (`docs/protocol.md`, section 11.4).
    ///
    /// A server decides when the client's first application bytes arrive, and holds them back only
    /// when a side connection has sent an Open by then.
    Prefer,
    /// Fails no connection, and reports.
    Observe,
}

impl Policy {
    /// The word used on command lines: `require`, `prefer` or `observe`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Prefer => "prefer",
            Self::Observe => "observe",
        }
    }

    /// Returns whether this policy refuses connections that the other accepts.
    pub fn is_stricter_than(self, other: Self) -> bool {
        let strictness = |policy| match policy {
            Self::Observe => 0,
            Self::Prefer => 1,
            Self::Require => 2,
        };
        strictness(self) > strictness(other)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(word: &str) -> Result<Self, UnknownPolicy> {
        [Self::Require, Self::Prefer, Self::Observe]
            .into_iter()
            .find(|policy| policy.as_str() == word)
            .ok_or_else(|| UnknownPolicy(word.to_owned()))
    }
}

/// Error of parsing a [`Policy`].
///
/// ```
/// use mtls_core::Policy;
///
/// let error = "always".parse::<Policy>().unwrap_err();
/// assert!(error.to_string().starts_with("expected a policy of `require`"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy(String);

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected a policy of `require`, `prefer` or `observe`, got `{}`",
            self.0
        )
    }
}

impl std::error::Error for UnknownPolicy {}
