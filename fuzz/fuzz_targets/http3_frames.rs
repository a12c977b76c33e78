//! The frames of HTTP/3 that pass are the same however the stream is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_core::fuzzing::http3_frames(data));
