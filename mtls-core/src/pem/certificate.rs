//! Problems of a usable certificate for which peers may refuse it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};

/// A certificate that ends within this time is warned of: 14 days.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The use of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUse {
    /// A server shows it to clients.
    Server,
    /// A client shows it to servers.
    Client,
}

/// A reason why peers may refuse a certificate, or will soon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateWarning {
    /// It has expired, at this time.
    Expired(ASN1Time),
    /// It is valid from this time on, which is yet to come.
    NotYetValid(ASN1Time),
    /// It expires within [`EXPIRY_WARNING`], at this time.
    ExpiresSoon(ASN1Time),
    /// It is the certificate of an authority (`CA:TRUE` in basicConstraints).
    IsAuthority,
    /// It is for a server and has no subjectAltName, the only place where clients look for names
    /// (RFC 9525, section 2).
    NoNames,
    /// Its extendedKeyUsage does not have this purpose.
    WrongPurpose(CertificateUse),
}

impl CertificateWarning {
    /// Finds all that is to be warned of at the time `now`. A certificate that cannot be parsed
    /// gets no warning.
    pub fn all(
        certificate: &CertificateDer<'_>,
        usage: CertificateUse,
        now: SystemTime,
    ) -> Vec<Self> {
        match X509Certificate::from_der(certificate) {
            Ok((_, parsed)) => [
                validity(&parsed, now),
                parsed.is_ca().then_some(Self::IsAuthority),
                names(&parsed, usage),
                purpose(&parsed, usage),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Err(_) => Vec::new(),
        }
    }
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(end) => write!(f, "the certificate expired on {end}; renew it"),
            Self::NotYetValid(start) => write!(
                f,
                "the certificate is not valid before {start}; check the clock, or wait"
            ),
            Self::ExpiresSoon(end) => {
                write!(f, "the certificate expires soon, on {end}; renew it")
            }
            Self::IsAuthority => f.write_str(
                "the certificate is that of a CA (CA:TRUE), which mtls-client and other programs \
                 refuse; issue one with CA:FALSE",
            ),
            Self::NoNames => f.write_str(
                "the certificate has no subjectAltName, so clients refuse it; issue one with the \
                 server's names",
            ),
            Self::WrongPurpose(usage) => {
                let (whose, purpose) = match usage {
                    CertificateUse::Server => ("servers", "serverAuth"),
                    CertificateUse::Client => ("clients", "clientAuth"),
                };
                write!(
                    f,
                    "the certificate is not for {whose}; issue one with {purpose} in its \
                     extendedKeyUsage"
                )
            }
        }
    }
}

/// Is the first certificate of a chain of a version that has no extensions?
pub(super) fn is_old_version(chain: &[CertificateDer<'_>]) -> bool {
    let leaf = chain.first().map(|leaf| X509Certificate::from_der(leaf));
    matches!(leaf, Some(Ok((_, parsed))) if parsed.version() != X509Version::V3)
}

fn validity(certificate: &X509Certificate<'_>, now: SystemTime) -> Option<CertificateWarning> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    let end = validity.not_after;
    if timestamp(now) > end.timestamp() {
        Some(CertificateWarning::Expired(end))
    } else if timestamp(now) < validity.not_before.timestamp() {
        Some(CertificateWarning::NotYetValid(validity.not_before))
    } else if timestamp(now + EXPIRY_WARNING) > end.timestamp() {
        Some(CertificateWarning::ExpiresSoon(end))
    } else {
        None
    }
}

fn names(certificate: &X509Certificate<'_>, usage: CertificateUse) -> Option<CertificateWarning> {
    let named = matches!(certificate.subject_alternative_name(), Ok(Some(_)) | Err(_));
    (usage == CertificateUse::Server && !named).then_some(CertificateWarning::NoNames)
}

fn purpose(certificate: &X509Certificate<'_>, usage: CertificateUse) -> Option<CertificateWarning> {
    let purposes = certificate.extended_key_usage().ok()??.value;
    let fits = purposes.any
        || match usage {
            CertificateUse::Server => purposes.server_auth,
            CertificateUse::Client => purposes.client_auth,
        };
    (!fits).then_some(CertificateWarning::WrongPurpose(usage))
}
