//! The target of `terminate` receives what only the server may say from the server alone.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_server::fuzzing::forwarded_fields(data));
