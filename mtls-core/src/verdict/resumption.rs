//! The results of a verification by resumption (`docs/protocol.md`, section 11).

use std::fmt;

use serde::Serialize;

/// Proof that both paths lead to the same ticket domain: a session of one path was resumed over
/// the other. Only a check that succeeded makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResumptionProof {
    direction: ResumptionDirection,
}

/// The path whose session was resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ResumptionDirection {
    /// The session of the primary path was resumed over the side path.
    Forward,
    /// A session of the side path was resumed over a new connection of the primary path, which
    /// replaced the first one.
    Reversed,
    /// A session of the side path that was made in advance
    /// ([`MultipathConnector::prefetch`](crate::MultipathConnector::prefetch)) was resumed over the
    /// primary path.
    Prefetched,
}

impl ResumptionProof {
    pub(crate) fn new(direction: ResumptionDirection) -> Self {
        Self { direction }
    }

    /// The path whose session was resumed.
    pub fn direction(self) -> ResumptionDirection {
        self.direction
    }
}

/// Reason of a side path that did not verify a connection by resumption. None of these is proof of an
/// interception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResumptionFailure {
    /// The side path resumes its own sessions, and neither path resumes those of the other: a man
    /// in the middle, or two groups of servers without a common ticket key.
    Split,
    /// Neither path resumes sessions, and each showed another key.
    OtherKey,
    /// A server recognized a ticket and found that it belongs to another session: it sent the alert
    /// `illegal_parameter` or `decrypt_error`. An attacker on either path can forge that alert.
    TicketDisputed,
    /// The side path resumed its own sessions only sometimes, or the deadline passed.
    Inconclusive,
    /// The server resumes no TLS 1.3 session, and showed the same key on both paths.
    Unsupported,
    /// No connection to the side endpoint.
    SideUnreachable,
    /// TLS failed on the side path.
    SideFailed,
}

impl ResumptionFailure {
    /// Whether [`Policy::Prefer`](crate::Policy::Prefer) accepts the connection all the same. An
    /// attacker on the primary path alone can cause these only with the server's private key; an
    /// attacker who blocks the side path, or attackers on both paths with one key, can.
    pub fn allows_fallback(self) -> bool {
        matches!(self, Self::Unsupported | Self::SideUnreachable)
    }

    /// Whether it may be the sign of a man in the middle, so that the certificates of both paths
    /// are kept as [`Evidence`](crate::Evidence).
    pub fn is_suspicious(self) -> bool {
        matches!(self, Self::Split | Self::OtherKey | Self::TicketDisputed)
    }

    /// A token for programs: lower-case words joined by `-`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::OtherKey => "other-key",
            Self::TicketDisputed => "ticket-disputed",
            Self::Inconclusive => "inconclusive",
            Self::Unsupported => "unsupported",
            Self::SideUnreachable => "side-unreachable",
            Self::SideFailed => "side-failed",
        }
    }
}

impl fmt::Display for ResumptionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Split => {
                "the paths lead to servers that do not resume each other's sessions: a man in the \
                 middle, or two groups of servers without a common ticket key"
            }
            Self::OtherKey => {
                "neither path resumes sessions, and the paths showed different keys: a man in the \
                 middle, or servers with a certificate each"
            }
            Self::TicketDisputed => {
                "a server recognized a session ticket that belongs to another session: a man in \
                 the middle, or an attacker who forged the alert"
            }
            Self::Inconclusive => {
                "the server resumes its sessions only sometimes, so resumption shows nothing"
            }
            Self::Unsupported => "the server resumes no TLS 1.3 sessions",
            Self::SideUnreachable => "no connection to the side endpoint",
            Self::SideFailed => "TLS failed on the side path",
        })
    }
}
