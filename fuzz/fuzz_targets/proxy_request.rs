//! The first request to the proxy means the same however it is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_client::fuzzing::proxy_request(data));
