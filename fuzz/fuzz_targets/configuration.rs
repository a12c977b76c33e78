//! A configuration file is parsed, or refused with a message.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mtls_server::fuzzing::configuration(data));
