//! Texts for people and tokens for programs.

use core::fmt;

use super::client::{InterceptionReason, SideFailure};
use super::error::FrameError;
use super::frame::{FrameBody, RejectCode};

impl SideFailure {
    /// A token for programs: lower-case words joined by `-`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "side-unreachable",
            Self::NoGreeting => "no-greeting",
            Self::Silent => "side-silent",
            Self::Closed => "side-closed",
            Self::Rejected(code) => rejected(code),
            Self::Misbehaved(_) => "side-misbehaved",
            Self::Interception(reason) => reason.as_str(),
        }
    }
}

fn rejected(code: RejectCode) -> &'static str {
    match code {
        RejectCode::Unknown => "rejected-unknown",
        RejectCode::EarlyWaitExpired => "rejected-early-wait-expired",
        RejectCode::Busy => "rejected-busy",
        RejectCode::RegistryUnavailable => "rejected-registry-unavailable",
        RejectCode::NoCommonBinding => "rejected-no-common-binding",
        RejectCode::Malformed => "rejected-malformed",
        RejectCode::WrongValue => "rejected-wrong-value",
        RejectCode::NotTls13 => "rejected-not-tls13",
    }
}

impl RejectCode {
    /// A token for programs, as [`SideFailure::as_str`].
    pub fn as_str(self) -> &'static str {
        let token = rejected(self);
        token.strip_prefix("rejected-").unwrap_or(token)
    }
}

impl InterceptionReason {
    /// A token for programs, as [`SideFailure::as_str`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongValue => "wrong-value",
            Self::UnknownHandshake => "unknown-handshake",
            Self::Downgrade => "downgrade",
        }
    }
}

impl FrameBody {
    /// The frame's type, as a token for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Proof { .. } => "proof",
            Self::Confirm { .. } => "confirm",
            Self::Done => "done",
            Self::Reject { .. } => "reject",
        }
    }
}

impl FrameError {
    /// A token for programs, as [`SideFailure::as_str`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotTheGreeting => "not-the-greeting",
            Self::UnknownType(_) => "unknown-type",
            Self::TooLong { .. } => "too-long",
            Self::MissingField { .. } => "missing-field",
            Self::TrailingBytes { .. } => "trailing-bytes",
            Self::UnknownBinding(_) => "unknown-binding",
            Self::UnknownCode(_) => "unknown-code",
            Self::Truncated { .. } => "truncated",
        }
    }
}

impl fmt::Display for SideFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("no connection to the side endpoint"),
            Self::NoGreeting => {
                f.write_str("connected, but the server does not speak the side protocol there")
            }
            Self::Silent => f.write_str("the side endpoint greeted and then fell silent"),
            Self::Closed => f.write_str("the side endpoint greeted and then closed"),
            Self::Rejected(code) => write!(f, "the side endpoint refused: {code}"),
            Self::Misbehaved(what) => write!(f, "the side endpoint sent {what}"),
            Self::Interception(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it does not know this handshake",
            Self::EarlyWaitExpired => "the handshake did not reach it in time",
            Self::Busy => "it is busy",
            Self::RegistryUnavailable => "its registry does not answer",
            Self::NoCommonBinding => "it has none of the bindings that were offered",
            Self::Malformed => "it could not make sense of the request",
            Self::WrongValue => "it found this client's value wrong",
            Self::NotTls13 => "the handshake was not TLS 1.3",
        })
    }
}

impl fmt::Display for InterceptionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongValue => "the proof from the side path belongs to another TLS handshake",
            Self::UnknownHandshake => "the server never saw this TLS handshake",
            Self::Downgrade => "the two ends hold handshakes of different TLS versions",
        })
    }
}
