//! Bytes that Chromium 156 sent (`chromium/*.bin`): GREASE, permuted extensions, a hybrid key
//! share, ECH GREASE; answered by OpenSSL, at once and after a HelloRetryRequest for P-384.

use mtls_core::proto::binding::Role;
use mtls_core::proto::hello::HelloTap;

use crate::capture::{Capture, Chunk, feed};

/// One record after the other, the ends in turn: the server answers each ClientHello.
fn capture(client: &[u8], server: &[u8]) -> Capture {
    let (mut client, mut server) = (records(client), records(server));
    let mut capture = Capture::default();
    while !client.is_empty() {
        // Up to a ClientHello, and then up to the ServerHello or the HelloRetryRequest for it.
        for (from, records) in [(Role::Client, &mut client), (Role::Server, &mut server)] {
            let hello = records.iter().position(|record| record[0] == 22);
            for record in records.drain(..=hello.expect("a hello")) {
                capture.push(from, &record);
            }
        }
    }
    assert!(server.is_empty(), "the ends do not match");
    capture
}

fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        let (record, rest) = bytes.split_at(5 + length);
        records.push(record.to_vec());
        bytes = rest;
    }
    records
}

fn plain() -> Capture {
    capture(
        include_bytes!("chromium/plain-client.bin"),
        include_bytes!("chromium/plain-server.bin"),
    )
}

fn retried() -> Capture {
    capture(
        include_bytes!("chromium/retry-client.bin"),
        include_bytes!("chromium/retry-server.bin"),
    )
}

/// The tap after the whole capture, where this chunk came in two pieces.
fn tapped(capture: &Capture, cut_chunk: usize, at: usize) -> HelloTap {
    let mut tap = HelloTap::new();
    for (index, Chunk { from, bytes }) in capture.chunks.iter().enumerate() {
        let (before, after) = bytes.split_at(if index == cut_chunk { at } else { 0 });
        feed(&mut tap, *from, before).expect("an honest handshake");
        feed(&mut tap, *from, after).expect("an honest handshake");
    }
    tap
}

#[test]
fn hellos_of_chromium_are_bound_however_they_are_cut() {
    for (capture, hellos) in [(plain(), 2), (retried(), 4)] {
        assert_eq!(capture.messages().len(), hellos);
        let expected = capture.reference_hash();
        assert_eq!(capture.hello().hello_hash, expected);
        for (index, chunk) in capture.chunks.iter().enumerate() {
            for at in 0..=chunk.bytes.len() {
                let hello = tapped(&capture, index, at).hello().expect("all hellos");
                assert_eq!(hello.hello_hash, expected, "chunk {index}, byte {at}");
            }
        }
        for piece in [1, 2, 3, 5, 536, 1460] {
            let tap = capture.tap(piece).expect("an honest handshake");
            assert_eq!(tap.hello().expect("all hellos").hello_hash, expected);
        }
    }
}

#[test]
fn what_a_proxy_reads_of_chromiums_hello_is_there() {
    for capture in [plain(), retried()] {
        let tap = capture.tap(usize::MAX).expect("an honest handshake");
        assert_eq!(tap.server_name(), Some("localhost"));
        assert!(!tap.offers_early_data());
        let first = &capture.chunks[0].bytes;
        assert!(first.len() > 1460, "it takes more than one segment");
        assert_eq!(tap.hello_end(Role::Client), {
            let sent = capture.chunks.iter().filter(|c| c.from == Role::Client);
            sent.map(|chunk| chunk.bytes.len()).sum::<usize>()
        });
    }
}
