//! Warnings of certificates that can be used.

use std::time::{Duration, SystemTime};

use mtls_core::pem::{CertificateUse, CertificateWarning, EXPIRY_WARNING};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate for a year from 2030-01-01, with these changes.
pub(crate) fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let names = ["localhost".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = rcgen::date_time_ymd(2030, 1, 1);
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    params.is_ca = IsCa::ExplicitNoCa;
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").into()
}

/// 2030-01-01, and so many days.
fn day(days: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * (21_915 + days)
}

fn warnings(certificate: &CertificateDer<'_>, usage: CertificateUse, day_of_2030: u32) -> String {
    let found = CertificateWarning::all(certificate, usage, day(day_of_2030));
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    found.join("\n")
}

#[test]
fn expiry_is_warned_of_from_14_days_before_it() {
    assert_eq!(EXPIRY_WARNING, DAY * 14);
    let certificate = certificate(|_| {});
    let at = |day| warnings(&certificate, CertificateUse::Server, day);
    assert_eq!(at(0), "");
    assert_eq!(at(365 - 14), "");
    for day in [365 - 13, 365] {
        assert_eq!(
            at(day),
            "the certificate expires soon, on Jan  1 00:00:00 2031 +00:00; renew it"
        );
    }
    assert_eq!(
        at(366),
        "the certificate expired on Jan  1 00:00:00 2031 +00:00; renew it"
    );
}

#[test]
fn a_certificate_whose_time_is_to_come_is_warned_of() {
    let certificate = certificate(|params| params.not_before = rcgen::date_time_ymd(2030, 1, 2));
    let text = warnings(&certificate, CertificateUse::Server, 0);
    assert!(
        text.contains("not valid before Jan  2 00:00:00 2030"),
        "{text}"
    );
    assert_eq!(warnings(&certificate, CertificateUse::Server, 1), "");
}

#[test]
fn a_certificate_that_peers_refuse_is_warned_of() {
    let authority = certificate(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let nameless = certificate(|params| params.subject_alt_names.clear());
    let of_purpose = |purpose| certificate(|params| params.extended_key_usages = vec![purpose]);
    let client = of_purpose(ExtendedKeyUsagePurpose::ClientAuth);
    let server = of_purpose(ExtendedKeyUsagePurpose::ServerAuth);
    let any = of_purpose(ExtendedKeyUsagePurpose::Any);
    let of = |certificate, usage| warnings(certificate, usage, 1);
    for (text, part) in [
        (of(&authority, CertificateUse::Server), "that of a CA"),
        (of(&authority, CertificateUse::Client), "that of a CA"),
        (of(&nameless, CertificateUse::Server), "no subjectAltName"),
        (of(&client, CertificateUse::Server), "not for servers"),
        (of(&server, CertificateUse::Client), "not for clients"),
    ] {
        assert!(
            text.contains(part) && text.lines().count() == 1,
            "{part}: {text}"
        );
    }
    for text in [
        of(&nameless, CertificateUse::Client),
        of(&client, CertificateUse::Client),
        of(&server, CertificateUse::Server),
        of(&any, CertificateUse::Server),
    ] {
        assert_eq!(text, "");
    }
}
