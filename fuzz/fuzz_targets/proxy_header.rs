//! A header of the PROXY protocol means the same however it is cut, and nothing after it is read.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_server::fuzzing::proxy_header(data));
