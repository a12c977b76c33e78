//! The result of a client's fetch.

use mtls_core::Error;

use super::cell::{AttackerReport, Outcome};
use crate::Result;
use crate::secrets::PAGE_SECRET;

/// The result of a fetch, with the client's message.
pub(super) enum FetchOutcome {
    /// The client sent its request and read the page.
    Used(String),
    /// It refused to, for a reason that means an attacker or may mean one.
    Refused(String),
    /// It failed before that.
    Failed(String),
}

impl FetchOutcome {
    pub(super) fn of(fetched: Result<String>) -> Self {
        match fetched {
            Ok(page) if page == PAGE_SECRET => Self::Used("used the connection".to_owned()),
            Ok(page) => Self::Failed(format!("got another page: {page}")),
            Err(error) => match error.downcast::<std::io::Error>() {
                Ok(error) => Self::from_error(&Error::from(*error)),
                Err(error) => Self::Failed(error.to_string()),
            },
        }
    }

    /// There is no connection.
    pub(super) fn from_error(error: &Error) -> Self {
        match error {
            Error::Interception(evidence) => {
                Self::Refused(format!("intercepted: {}", evidence.reason.as_str()))
            }
            Error::Unverified(unverified) => {
                Self::Refused(format!("not verified: {}", unverified.reason.as_str()))
            }
            Error::Tls(rustls::Error::InvalidCertificate(why)) => {
                Self::Refused(format!("certificate not trusted: {why}"))
            }
            other => Self::Failed(other.to_string()),
        }
    }

    /// The client's message.
    pub(super) fn description(&self) -> &str {
        match self {
            Self::Used(description) | Self::Refused(description) | Self::Failed(description) => {
                description
            }
        }
    }

    /// The result of an attack whose attackers report this.
    pub(super) fn against(&self, attackers: &[AttackerReport]) -> Outcome {
        let leaked = attackers.iter().any(|report| !report.secrets.is_empty());
        match (leaked, self) {
            (true, _) => Outcome::Broken,
            (false, Self::Used(_)) => Outcome::Protected,
            (false, Self::Refused(_)) => Outcome::Refused,
            (false, Self::Failed(_)) => Outcome::Failed,
        }
    }

    /// Whether the client got far enough to use its side paths.
    pub(super) fn accepted_certificate(&self) -> bool {
        !self.description().starts_with("certificate not trusted")
    }
}
