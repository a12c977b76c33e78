//! The answer of an HTTP proxy means the same however it is cut, and nothing after it is read.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_core::fuzzing::http_connect_answer(data));
