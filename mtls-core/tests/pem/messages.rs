//! The reasons of rustls, in words.

use std::sync::Arc;

use mtls_core::{certificate_error_message, tls_error_message};
use rcgen::{BasicConstraints, IsCa};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::pki;
use crate::warnings::certificate;

/// Why a client that trusts some other CA refuses this certificate of `localhost`, in words.
pub(crate) fn refusal(certificate: &CertificateDer<'_>) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(pki().ca.cert_der()).expect("a root");
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .expect("a verifier");
    let name = ServerName::try_from("localhost").expect("a name");
    // 2030-01-02, within the time of the certificates that the tests make.
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(21_916 * 24 * 60 * 60));
    let refused = {
        use rustls::client::danger::ServerCertVerifier;
        verifier.verify_server_cert(certificate, &[], &name, &[], now)
    };
    match refused {
        Err(rustls::Error::InvalidCertificate(reason)) => {
            let words = certificate_error_message(&reason);
            let error = rustls::Error::InvalidCertificate(reason);
            assert_eq!(
                tls_error_message(&error),
                format!("invalid peer certificate: {words}")
            );
            words
        }
        other => panic!("not refused for the certificate: {other:?}"),
    }
}

#[test]
fn a_refused_certificate_is_described_in_words() {
    let authority = certificate(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    for (certificate, expected) in [
        (
            authority,
            "it is the certificate of a CA (CA:TRUE) and not that of a server or client",
        ),
        (certificate(|_| {}), "its issuer is not a trusted CA"),
        (
            certificate(|params| {
                params.not_before = rcgen::date_time_ymd(2029, 1, 1);
                params.not_after = rcgen::date_time_ymd(2029, 12, 23);
            }),
            "it expired 10 days ago",
        ),
        (
            CertificateDer::from(vec![0x30, 0]),
            "it is damaged, it is not DER",
        ),
    ] {
        assert_eq!(refusal(&certificate), expected);
    }
}
