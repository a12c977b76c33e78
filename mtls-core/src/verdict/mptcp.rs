//! Side exchanges inside a Multipath TCP connection that verified nothing.

use std::fmt;

/// Reason of a side path inside the connection that did not verify
/// (`docs/protocol.md`, section 15.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MptcpFailure {
    /// The connection fell back to TCP: the server does not support Multipath TCP, or a middlebox, or
    /// an attacker, removes its options.
    Fallback,
    /// The second subflow was not established.
    JoinFailed,
    /// Bytes of the handshake or of the side exchange used another subflow than theirs.
    Mismatch,
    /// The same after a loss, which is no sign of an attacker, and the repetition of the exchange over a
    /// connection of its own reached no server.
    Lossy,
}

impl MptcpFailure {
    /// A token for programs: lower-case words joined by `-`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "mptcp-fallback",
            Self::JoinFailed => "mptcp-join-failed",
            Self::Mismatch => "path-mismatch",
            Self::Lossy => "mptcp-lossy",
        }
    }
}

impl fmt::Display for MptcpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fallback => {
                "the connection fell back from Multipath TCP to TCP: the server does not support it, \
                 or a middlebox or an attacker removes its options"
            }
            Self::JoinFailed => {
                "the second subflow was not established: the server may not accept any (`ip mptcp \
                 limits set subflows 2` there), or the second network blocks it"
            }
            Self::Mismatch => {
                "bytes used another subflow than the one that they were meant for: an attacker may be \
                 on one of the paths"
            }
            Self::Lossy => {
                "bytes of the side exchange were lost, and it could not be repeated over a connection of \
                 its own: the second network may have failed, or an attacker on it drops packets"
            }
        })
    }
}
