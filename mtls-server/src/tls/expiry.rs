//! Warnings of certificates whose time comes while the server runs.

use std::time::SystemTime;

use mtls_core::pem::CertificateWarning;

use super::Identity;

/// The warnings of a certificate that were logged.
#[derive(Debug, Default)]
pub(super) struct ExpiryWatch {
    logged: Vec<CertificateWarning>,
}

impl ExpiryWatch {
    /// Watches a certificate whose current warnings were logged when it was loaded.
    pub(super) fn of(identity: &Identity, now: SystemTime) -> Self {
        Self {
            logged: identity.warnings(now),
        }
    }

    /// The warnings that apply since the last call.
    pub(super) fn new_warnings(
        &mut self,
        identity: &Identity,
        now: SystemTime,
    ) -> Vec<CertificateWarning> {
        let current = identity.warnings(now);
        let is_new = |warning: &&CertificateWarning| !self.logged.contains(warning);
        let new = current.iter().filter(is_new).cloned().collect();
        self.logged = current;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mtls_certs::Pki;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_certificate_that_enters_its_last_days_is_reported_once_and_again_when_it_expires() {
        let pki = Pki::new(&["localhost"]).expect("a pki");
        let identity = Identity::new(pki.server.chain_der(), pki.server.key_der());
        let identity = identity.expect("an identity");
        let end = u64::try_from(identity.not_after().expect("an end")).expect("after 1970");
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(end);
        let mut watch = ExpiryWatch::of(&identity, end - 20 * DAY);
        for (now, expected) in [
            (end - 15 * DAY, ""),
            (end - 13 * DAY, "the certificate expires soon"),
            (end - 12 * DAY, ""),
            (end + DAY, "the certificate expired on"),
            (end + 2 * DAY, ""),
        ] {
            let new = watch.new_warnings(&identity, now);
            let text: String = new.iter().map(ToString::to_string).collect();
            assert_eq!(text.is_empty(), expected.is_empty(), "{text}");
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
