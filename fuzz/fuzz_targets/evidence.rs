//! Evidence is read, shown and checked, or refused, whatever it says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mtls_core::EvidenceBundle;
use rustls::crypto::aws_lc_rs;
use sha2::{Digest, Sha256};

const BEFORE_DIGEST: &[u8] = b",\n  \"sha256\": \"";
const AFTER_DIGEST: &[u8] = b"\"\n}\n";

fuzz_target!(|data: &[u8]| {
    read(data);
    // With the digest that it should have: a fuzzer does not find one.
    let mut sealed = [data, BEFORE_DIGEST].concat();
    let digest = Sha256::digest(&sealed);
    sealed.extend(
        digest
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes()),
    );
    sealed.extend_from_slice(AFTER_DIGEST);
    read(&sealed);
});

fn read(bytes: &[u8]) {
    match EvidenceBundle::parse(bytes) {
        Ok(bundle) => {
            let _ = bundle.finding();
            let handshakes = bundle.handshakes().count();
            assert!(handshakes <= 3);
            let _ = bundle.verify(&aws_lc_rs::default_provider());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
