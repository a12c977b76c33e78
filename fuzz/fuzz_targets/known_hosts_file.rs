//! A file of known hosts that is accepted comes back from its own text.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_core::fuzzing::known_hosts_file(data));
