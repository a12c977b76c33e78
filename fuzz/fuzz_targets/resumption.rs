//! Verification by resumption ends within its bound, and verifies only what was resumed.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_core::fuzzing::resumption(data));
