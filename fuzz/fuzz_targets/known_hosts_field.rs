//! A value of the field `Multipath-TLS` that is accepted comes back from its own text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mtls_core::known_hosts::Advertisement;

fuzz_target!(|data: &[u8]| {
    if let Ok(advertisement) = Advertisement::try_from(data) {
        let text = advertisement.to_string();
        let again = Advertisement::try_from(text.as_bytes());
        assert_eq!(again.as_ref(), Ok(&advertisement), "{text}");
    }
});
