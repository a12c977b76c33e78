//! TLS errors in words.

use rustls::CertificateError;
use rustls::pki_types::UnixTime;

/// Describes why TLS failed.
///
/// rustls shows a part of its certificate errors as their Rust values, in which names and object
/// identifiers are lists of numbers.
pub fn tls_error_message(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(reason) => {
            format!(
                "invalid peer certificate: {}",
                certificate_error_message(reason)
            )
        }
        other => other.to_string(),
    }
}

/// Describes why a certificate is not accepted: the second half of the sentence that begins
/// with "the certificate is not accepted".
pub fn certificate_error_message(error: &CertificateError) -> String {
    use CertificateError as E;
    let text = match error {
        E::UnknownIssuer => "its issuer is not a trusted CA",
        E::BadEncoding => "it is damaged, it is not DER",
        E::BadSignature => "its signature is wrong",
        E::Revoked => "it is revoked",
        E::UnhandledCriticalExtension => "it has a critical extension that is unknown here",
        E::NotValidForName => "it is not valid for this name",
        E::InvalidPurpose => "its extendedKeyUsage does not allow this use",
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed with an algorithm that is not supported"
        }
        E::Expired => "it has expired",
        E::ExpiredContext { time, not_after } => {
            return format!("it expired {} ago", between(*not_after, *time));
        }
        E::NotValidYet => "it is not valid yet",
        E::NotValidYetContext { time, not_before } => {
            return format!("it becomes valid in {}", between(*time, *not_before));
        }
        E::Other(other) => return other_problem(&other.0.to_string()),
        E::NotValidForNameContext { .. } | E::InvalidPurposeContext { .. } => {
            return error.to_string();
        }
        other => return words(&other.to_string()),
    };
    text.to_owned()
}

/// The problems that rustls passes on from webpki, which shows them as Rust names.
fn other_problem(name: &str) -> String {
    match name {
        "CaUsedAsEndEntity" => {
            "it is the certificate of a CA (CA:TRUE) and not that of a server or client".to_owned()
        }
        "EndEntityUsedAsCa" => "it is issued by a certificate that is not that of a CA".to_owned(),
        "UnsupportedCertVersion" => "it is of X.509 version 1 or 2, and not 3".to_owned(),
        other => words(other),
    }
}

/// `PathLenConstraintViolated` as "path len constraint violated", without values.
fn words(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

fn between(earlier: UnixTime, later: UnixTime) -> String {
    const HOUR: u64 = 60 * 60;
    const DAY: u64 = 24 * HOUR;
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    match seconds {
        0..HOUR => format!("{seconds} s"),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        DAY.. => format!("{} days", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_error_shows_a_rust_value() {
        use std::sync::Arc;
        use std::time::Duration;

        use rustls::OtherError;

        let other = |name: &str| {
            let error = std::io::Error::other(name.to_owned());
            CertificateError::Other(OtherError(Arc::new(error)))
        };
        for (error, expected) in [
            (
                CertificateError::UnknownIssuer,
                "its issuer is not a trusted CA",
            ),
            (
                CertificateError::ApplicationVerificationFailure,
                "application verification failure",
            ),
            (
                CertificateError::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: vec![67, 69, 82],
                    supported_algorithms: Vec::new(),
                },
                "it is signed with an algorithm that is not supported",
            ),
            (
                CertificateError::ExpiredContext {
                    time: UnixTime::since_unix_epoch(Duration::from_secs(20 * 86_400 + 1)),
                    not_after: UnixTime::since_unix_epoch(Duration::from_secs(1)),
                },
                "it expired 20 days ago",
            ),
            (
                other("PathLenConstraintViolated"),
                "path len constraint violated",
            ),
            (
                other("NameConstraintViolation { 1, 2 }"),
                "name constraint violation",
            ),
        ] {
            assert_eq!(certificate_error_message(&error), expected);
        }
    }
}
