//! The answers of a SOCKS5 proxy mean the same however they are cut, and nothing after them is read.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_core::fuzzing::socks5_answer(data));
