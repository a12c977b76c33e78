//! The errors of tickets in advance.

use std::fmt;

use crate::error::{ApiMisuse, Error};
use crate::known_hosts::KnownHostsError;
use crate::path::DialError;
use crate::tls::resumption::TicketFailure;
use crate::tls_message::tls_error_message;

/// Reason why [`MultipathConnector::prefetch`](crate::MultipathConnector::prefetch) fetched no
/// tickets. Connections are verified as usual then.
///
/// ```
/// use mtls_core::PrefetchError;
///
/// fn is_worth_a_retry(error: &PrefetchError) -> bool {
///     !matches!(error, PrefetchError::ApiMisuse(_) | PrefetchError::KnownHosts(_))
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum PrefetchError {
    /// The connector or the host cannot be used for it.
    ApiMisuse(ApiMisuse),
    /// The side path could not be dialled.
    Dial(Box<DialError>),
    /// TLS failed on the side path.
    Tls(rustls::Error),
    /// The server closed the connection during the handshake.
    Closed,
    /// The deadline passed.
    TimedOut,
    /// The known hosts could not be looked up.
    KnownHosts(KnownHostsError),
}

impl fmt::Display for PrefetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiMisuse(error) => error.fmt(f),
            Self::Dial(error) => write!(f, "side path: {error}"),
            Self::Tls(error) => write!(f, "side path: TLS failed: {}", tls_error_message(error)),
            Self::Closed => f.write_str(
                "side path: the server closed the connection during the TLS handshake; check that a \
                 TLS server listens there",
            ),
            Self::TimedOut => f.write_str(
                "side path: TLS was not complete at the deadline; raise it, or choose another side path",
            ),
            Self::KnownHosts(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PrefetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Dial(error) => Some(&**error),
            Self::Tls(error) => Some(error),
            Self::KnownHosts(error) => Some(error),
            Self::ApiMisuse(_) | Self::Closed | Self::TimedOut => None,
        }
    }
}

impl From<ApiMisuse> for PrefetchError {
    fn from(error: ApiMisuse) -> Self {
        Self::ApiMisuse(error)
    }
}

/// Of a handshake that offered no ticket, so none was refused.
impl From<TicketFailure> for PrefetchError {
    fn from(failure: TicketFailure) -> Self {
        match failure {
            TicketFailure::Tls(error) => Self::Tls(error),
            TicketFailure::Disputed | TicketFailure::Ended => Self::Closed,
        }
    }
}

impl PrefetchError {
    /// An error before anything was sent.
    pub(super) fn before(error: Error) -> Self {
        match error {
            Error::ApiMisuse(error) => Self::ApiMisuse(error),
            Error::KnownHosts(error) => Self::KnownHosts(error),
            Error::Tls(error) => Self::Tls(error),
            other => Self::Tls(rustls::Error::General(other.to_string())),
        }
    }
}
