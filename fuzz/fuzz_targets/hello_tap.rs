//! The hello tap gives the same answer however the bytes of a connection are cut, and never reads
//! beyond its bound.

#![no_main]

#[path = "common/pieces.rs"]
mod pieces;

use libfuzzer_sys::fuzz_target;
use mtls_core::proto::binding::Role;
use mtls_core::proto::hello::HelloTap;

const LIMIT: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let mut whole = HelloTap::with_limit(LIMIT);
    let mut cut = HelloTap::with_limit(LIMIT);
    for (from_client, bytes) in pieces::pieces(data) {
        let once = take(&mut whole, from_client, bytes);
        let mut last = Ok(());
        for byte in bytes {
            last = take(&mut cut, from_client, std::slice::from_ref(byte));
            if last.is_err() {
                break;
            }
        }
        if !bytes.is_empty() {
            assert_eq!(once.is_err(), last.is_err(), "{once:?} or {last:?}");
        }
        assert_eq!(whole.association(), cut.association());
        assert_eq!(whole.hello(), cut.hello());
        assert_eq!(whole.server_name(), cut.server_name());
        if once.is_err() {
            break;
        }
        for role in [Role::Client, Role::Server] {
            assert_eq!(whole.hello_end(role), cut.hello_end(role));
            assert!(whole.bytes_read(role) <= LIMIT);
        }
    }
});

fn take(tap: &mut HelloTap, from_client: bool, bytes: &[u8]) -> Result<(), String> {
    let taken = match from_client {
        true => tap.client_bytes(bytes),
        false => tap.server_bytes(bytes),
    };
    taken.map_err(|error| error.to_string())
}
