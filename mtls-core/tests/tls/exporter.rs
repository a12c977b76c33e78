//! The exporter against rustls's own.

use mtls_core::proto::binding::SideSecret;
use mtls_core::proto::exporter::tls_exporter;
use rustls::CipherSuite;

use crate::pair::{Choice, Ends};

const LABEL: &[u8] = b"EXPERIMENTAL-multipath-tls/1 binding";

const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

#[test]
fn equals_that_of_rustls_for_every_suite_context_and_length() {
    for suite in SUITES {
        let ends = Ends::new(Choice {
            suite: Some(suite),
            ..Choice::default()
        });
        let connected = ends.connect();
        let negotiated = connected.client.negotiated_cipher_suite();
        assert_eq!(negotiated.map(|one| one.suite()), Some(suite));
        let secret = ends.server_secret.get().expect("rustls logged the secret");
        assert_eq!(ends.client_secret.get().as_ref(), Some(&secret));

        for (context, label) in [(&[][..], LABEL), (&[5; 32], LABEL), (&[5; 1000], b"x")] {
            for len in [1, 32, 48, 64, 200] {
                let (mut ours, mut theirs) = (vec![0; len], vec![0; len]);
                tls_exporter(&secret, label, context, &mut ours)
                    .expect("a length of a suite's hash");
                connected
                    .client
                    .export_keying_material(&mut theirs, label, Some(context))
                    .expect("the handshake is complete");
                assert_eq!(ours, theirs, "{suite:?}, {len} bytes");
            }
        }
    }
}

#[test]
fn server_can_export_before_its_first_flight_leaves() {
    let ends = Ends::new(Choice::default());
    let mut connected = ends.open();
    connected.client_speaks();
    assert!(connected.server.is_handshaking());
    let secret = ends.server_secret.get().expect("rustls logged the secret");
    let early = SideSecret::from_exporter_secret(&secret).expect("a length of a suite's hash");

    connected.pump();
    let late = connected
        .client
        .export_keying_material([0; SideSecret::LEN], SideSecret::exporter_label(), None)
        .expect("the handshake is complete");
    assert_eq!(early.as_bytes(), &late);
}
