//! Operations of a registry in memory give what a model of it gives.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_core::fuzzing::registry(data));
