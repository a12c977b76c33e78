//! The result of one check.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mtls_core::{ClientStream, EvidenceReason, Outcome};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::connect::attempt::Attempt;

/// The kind of a result, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Intercepted,
    /// By resumption: `split`, `other-key` or `ticket-disputed`.
    Suspicious,
    /// No connection over the primary path, or another raw public key than the remembered one.
    Error,
    Unverified,
    Verified,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Observation {
    pub(super) unix_time: u64,
    pub(super) verdict: Kind,
    pub(super) reason: Option<String>,
    pub(super) method: Option<String>,
    /// The cause in words.
    pub(super) message: Option<String>,
    /// Seconds since the start of the connection.
    pub(super) connected: Option<f64>,
    pub(super) tls: Option<f64>,
    pub(super) decided: Option<f64>,
    /// The end of the certificate's validity, in seconds since 1970-01-01 UTC.
    pub(super) certificate_expiry: Option<i64>,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Intercepted,
        Self::Suspicious,
        Self::Error,
        Self::Unverified,
        Self::Verified,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Intercepted => "intercepted",
            Self::Suspicious => "suspicious",
            Self::Error => "error",
            Self::Unverified => "unverified",
            Self::Verified => "verified",
        }
    }

    /// Whether a change to or from it is notified.
    pub(super) fn is_notified(self) -> bool {
        matches!(self, Self::Intercepted | Self::Suspicious | Self::Verified)
    }

    fn of(attempt: &Attempt) -> Self {
        let finding = attempt.evidence.as_ref().map(|evidence| evidence.reason);
        match (
            finding,
            attempt.verdict.as_ref().map(|verdict| &verdict.outcome),
        ) {
            (Some(EvidenceReason::Resumption(_)), _) => Self::Suspicious,
            (Some(_), _) | (_, Some(Outcome::Intercepted(_))) => Self::Intercepted,
            (_, Some(Outcome::Verified(_))) => Self::Verified,
            (_, Some(Outcome::Unverified(_) | Outcome::Pinned(_))) => Self::Unverified,
            (None, None) => Self::Error,
        }
    }
}

impl Observation {
    pub(super) fn of(attempt: &Attempt, stream: Option<&ClientStream<TcpStream>>) -> Self {
        let verdict = attempt.verdict.as_ref();
        let reason = verdict.and_then(|verdict| verdict.outcome.reason());
        let failure = attempt.failure.as_ref();
        let times = verdict.map(|verdict| verdict.times).unwrap_or_default();
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            unix_time: now(),
            verdict: Kind::of(attempt),
            reason: reason
                .or(failure.map(|failure| failure.token))
                .map(str::to_owned),
            method: verdict.map(|verdict| verdict.method.to_string()),
            message: failure.map(|failure| failure.message.clone()),
            connected: seconds(times.connected),
            tls: seconds(times.tls),
            decided: seconds(times.verdict),
            certificate_expiry: expiry(attempt, stream),
        }
    }

    /// Whether it is the same verdict as another, with the same reason.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.verdict, one.reason.clone(), one.method.clone());
        of(self) == of(other)
    }
}

/// Seconds since 1970-01-01 UTC.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The end of the validity of the certificate on the primary path.
fn expiry(attempt: &Attempt, stream: Option<&ClientStream<TcpStream>>) -> Option<i64> {
    let presented = stream.and_then(|stream| stream.get_ref().get_ref().1.peer_certificates());
    let leaf = match presented.and_then(<[_]>::first) {
        Some(leaf) => leaf.clone().into_owned(),
        None => {
            let leaf = attempt.evidence.as_ref()?.chain.first()?;
            CertificateDer::from_pem_slice(leaf.pem.as_bytes()).ok()?
        }
    };
    // A raw public key is no certificate, and never expires.
    let (_, certificate) = X509Certificate::from_der(&leaf).ok()?;
    Some(certificate.validity().not_after.timestamp())
}
