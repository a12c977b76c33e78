//! The hello tap over rustls's own bytes.

use std::io::Write;

use mtls_core::proto::binding::{Association, Role};
use mtls_core::proto::error::HelloError;
use mtls_core::proto::hello::HelloTap;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
use rustls::{HandshakeKind, NamedGroup};

use crate::capture::{Capture, Chunk, Message, feed};
use crate::pair::{Choice, Connected, Ends, NAME};

#[test]
fn full_handshake_is_tapped_whatever_its_cuts() {
    let connected = full();
    assert_eq!(connected.client.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(connected.capture.messages().len(), 2);
    assert_tapped_whatever_the_cuts(&connected.capture);
}

#[test]
fn retried_handshake_is_tapped_whatever_its_cuts() {
    let connected = retried();
    assert_eq!(
        connected.client.handshake_kind(),
        Some(HandshakeKind::FullWithHelloRetryRequest)
    );
    assert_eq!(connected.capture.messages().len(), 4);
    assert_tapped_whatever_the_cuts(&connected.capture);
}

#[test]
fn hybrid_key_exchange_is_tapped_whatever_its_cuts() {
    let connected = hybrid();
    let group = connected.client.negotiated_key_exchange_group();
    assert_eq!(
        group.map(|group| group.name()),
        Some(NamedGroup::X25519MLKEM768)
    );
    assert_tapped_whatever_the_cuts(&connected.capture);
}

#[test]
fn resumed_handshake_is_tapped_whatever_its_cuts() {
    let connected = resumed();
    assert_eq!(
        connected.client.handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
    assert_tapped_whatever_the_cuts(&connected.capture);
}

#[test]
fn handshake_with_early_data_is_tapped_whatever_its_cuts() {
    let connected = early();
    assert!(connected.client.is_early_data_accepted());
    let tap = connected
        .capture
        .tap(usize::MAX)
        .expect("an honest handshake");
    assert!(tap.offers_early_data());
    assert_tapped_whatever_the_cuts(&connected.capture);
}

#[test]
fn two_handshakes_of_one_client_differ() {
    let ends = Ends::new(Choice::default());
    let (one, other) = (
        ends.connect().capture.hello(),
        ends.connect().capture.hello(),
    );
    assert_ne!(one.association, other.association);
    assert_ne!(one.hello_hash, other.hello_hash);
}

#[test]
fn relays_can_read_the_name_and_that_no_early_data_comes() {
    let tap = full().capture.tap(usize::MAX).expect("an honest handshake");
    assert_eq!(tap.server_name(), Some(NAME));
    assert!(!tap.offers_early_data());
}

#[test]
fn tls_1_2_is_refused_and_leaves_the_association() {
    let ends = Ends::new(Choice {
        server_versions: Some(&[&rustls::version::TLS12]),
        ..Choice::default()
    });
    let capture = ends.connect().capture;
    for piece in [1, 7, usize::MAX] {
        let mut tap = HelloTap::new();
        let refused = capture.chunks.iter().try_for_each(|chunk| {
            let mut pieces = chunk.bytes.chunks(piece);
            pieces.try_for_each(|piece| feed(&mut tap, chunk.from, piece))
        });
        assert_eq!(refused, Err(HelloError::NotTls13 { selected: 0x0303 }));
        assert_eq!(tap.association(), Some(association(&capture)));
        assert_eq!(tap.hello(), None);
    }
}

#[test]
fn messages_split_over_records_give_the_same_hash() {
    for capture in [full().capture, retried().capture] {
        for fragment in [1, 3, 4, 5, 64, 255] {
            let split = split_records(&capture, fragment);
            for piece in [1, 2, usize::MAX] {
                let tap = split.tap(piece).expect("fragments are allowed");
                assert_eq!(tap.hello(), Some(capture.hello()));
            }
        }
    }
}

#[test]
fn no_change_of_a_hashed_byte_keeps_the_hash() {
    let mut random = Random(0x6d75_6c74_6970_6174);
    for capture in [full(), retried(), hybrid(), resumed(), early()].map(|c| c.capture) {
        let hash = capture.reference_hash();
        for Message {
            chunk,
            offset,
            bytes,
            ..
        } in capture.messages()
        {
            for at in offset..offset + bytes.len() {
                let masks = [1, 0x80, random.mask()];
                for mask in masks {
                    let mut changed = capture.clone();
                    changed.chunks[chunk].bytes[at] ^= mask;
                    let hello = changed.tap(usize::MAX).ok().and_then(|tap| tap.hello());
                    assert_ne!(hello.map(|hello| hello.hello_hash), Some(hash), "byte {at}");
                }
            }
        }
    }
}

/// Fails by a panic of the tap, or by a hash for other messages than those of the capture.
#[test]
fn damaged_streams_never_panic_nor_pass_for_the_original() {
    let mut random = Random(0x7061_7468);
    for capture in [full(), retried(), early()].map(|c| c.capture) {
        let (hash, messages) = (capture.reference_hash(), capture.messages());
        for _ in 0..3_000 {
            let mut damaged = capture.clone();
            for _ in 0..=random.below(4) {
                random.damage(&mut damaged);
            }
            let piece = 1 + random.below(600);
            let hello = damaged.tap(piece).ok().and_then(|tap| tap.hello());
            if hello.is_some_and(|hello| hello.hello_hash == hash) {
                let intact = messages.iter().all(|message| carries(&damaged, message));
                assert!(intact, "the hash is that of other messages");
            }
        }
    }
}

#[test]
fn random_bytes_never_panic_nor_complete() {
    let mut random = Random(0x7469_6d65);
    for _ in 0..2_000 {
        let mut tap = HelloTap::new();
        for _ in 0..20 {
            let from = [Role::Client, Role::Server][random.below(2)];
            let mut bytes: Vec<u8> = (0..random.below(100)).map(|_| random.byte()).collect();
            // Half of them look like handshake records, so that the message parser is reached.
            if random.below(2) == 0 {
                let len = u8::try_from(bytes.len()).expect("at most 99 bytes");
                let kind = if from == Role::Client { 1 } else { 2 };
                let header = [22, 3, 3, 0, len + 4, kind, 0, 0, len];
                bytes.splice(0..0, header);
            }
            if feed(&mut tap, from, &bytes).is_err() {
                break;
            }
        }
        assert_eq!(tap.hello(), None);
    }
}

/// The cuts: nowhere, at each byte once, and at each byte at once.
pub(crate) fn assert_tapped_whatever_the_cuts(capture: &Capture) {
    let expected = capture.hello();
    assert_eq!(expected.association, association(capture));
    assert_eq!(expected.hello_hash, capture.reference_hash());
    for piece in [1, 2, 3, 5, 1000] {
        let tap = capture.tap(piece).expect("an honest handshake");
        assert_eq!(tap.hello(), Some(expected), "pieces of {piece}");
    }
    for cut_chunk in 0..capture.chunks.len() {
        for cut in 0..=capture.chunks[cut_chunk].bytes.len() {
            let mut tap = HelloTap::new();
            for (index, Chunk { from, bytes }) in capture.chunks.iter().enumerate() {
                let (first, second) = bytes.split_at(if index == cut_chunk { cut } else { 0 });
                feed(&mut tap, *from, first).expect("the first piece");
                feed(&mut tap, *from, second).expect("the second piece");
            }
            assert_eq!(
                tap.hello(),
                Some(expected),
                "chunk {cut_chunk} cut at {cut}"
            );
        }
    }
    assert_completes_with_the_last_byte(capture);
}

/// The association is there with the first ClientHello's last byte, the hash with the
/// ServerHello's; after that the order of the directions makes no difference.
fn assert_completes_with_the_last_byte(capture: &Capture) {
    let messages = capture.messages();
    let ends = |message: &Message| (message.chunk, message.offset + message.bytes.len());
    let first = messages.first().map(ends);
    let last = messages.last().map(ends);
    let mut tap = HelloTap::new();
    let (mut named, mut complete) = (None, None);
    for (index, Chunk { from, bytes }) in capture.chunks.iter().enumerate() {
        for (at, byte) in bytes.iter().enumerate() {
            feed(&mut tap, *from, &[*byte]).expect("an honest handshake");
            let here = Some((index, at + 1));
            named = named.or(tap.association().and(here));
            complete = complete.or(tap.hello().and(here));
            if complete == here {
                for other in [Role::Server, Role::Client] {
                    let mut tap = tap.clone();
                    feed(&mut tap, other, &bytes[at + 1..]).expect("bytes pass unread");
                    assert_eq!(tap.hello(), Some(capture.hello()));
                }
            }
        }
    }
    assert_eq!((named, complete), (first, last));
}

fn association(capture: &Capture) -> Association {
    let first = &capture.messages()[0];
    assert_eq!(first.from, Role::Client);
    let random = first.bytes[6..38].try_into().expect("a random of 32 bytes");
    Association::from_client_random(random)
}

/// Does this message stand in the capture, byte for byte?
fn carries(capture: &Capture, message: &Message) -> bool {
    let bytes: Vec<u8> = capture
        .chunks
        .iter()
        .filter(|chunk| chunk.from == message.from)
        .flat_map(|chunk| chunk.bytes.iter().copied())
        .collect();
    bytes
        .windows(message.bytes.len())
        .any(|window| window == message.bytes)
}

/// Each handshake record becomes records of at most so many bytes, up to the ServerHello.
fn split_records(capture: &Capture, fragment: usize) -> Capture {
    let mut split = capture.clone();
    for Message {
        chunk,
        offset,
        bytes,
        ..
    } in capture.messages().iter().rev()
    {
        let records: Vec<u8> = bytes
            .chunks(fragment)
            .flat_map(|part| {
                let len = u16::try_from(part.len()).expect("a part of a record");
                [&[22, 3, 3], &len.to_be_bytes()[..], part].concat()
            })
            .collect();
        split.chunks[*chunk]
            .bytes
            .splice(offset - 5..offset + bytes.len(), records);
    }
    split
}

fn full() -> Connected {
    Ends::new(Choice {
        client_groups: Some(&[X25519, SECP256R1]),
        ..Choice::default()
    })
    .connect()
}

fn retried() -> Connected {
    Ends::new(Choice {
        client_groups: Some(&[X25519, SECP256R1]),
        server_groups: Some(&[SECP256R1]),
        ..Choice::default()
    })
    .connect()
}

fn hybrid() -> Connected {
    Ends::new(Choice {
        client_groups: Some(&[X25519MLKEM768, X25519]),
        ..Choice::default()
    })
    .connect()
}

fn resumed() -> Connected {
    let ends = Ends::new(Choice::default());
    ends.connect();
    ends.connect()
}

fn early() -> Connected {
    let ends = Ends::new(Choice {
        early_data: true,
        ..Choice::default()
    });
    ends.connect();
    let mut connected = ends.open();
    let mut early_data = connected
        .client
        .early_data()
        .expect("the ticket allows early data");
    early_data
        .write_all(&[b'x'; 3000])
        .expect("the ticket allows so many bytes");
    connected.pump();
    connected
}

/// A small generator (xorshift64*), so that every run is the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).expect("32 bits") % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[7]
    }

    fn mask(&mut self) -> u8 {
        self.byte().max(1)
    }

    /// Changes, drops, repeats or inserts bytes, or drops, swaps or repeats whole turns.
    fn damage(&mut self, capture: &mut Capture) {
        let chunks = &mut capture.chunks;
        let chunk = self.below(chunks.len());
        let len = chunks[chunk].bytes.len();
        if len == 0 {
            return;
        }
        let at = self.below(len);
        let end = (at + 1 + self.below(40)).min(len);
        match self.below(7) {
            0 | 1 => chunks[chunk].bytes[at] ^= self.mask(),
            2 => drop(chunks[chunk].bytes.drain(at..end)),
            3 => chunks[chunk].bytes.truncate(at),
            4 => {
                let repeated = chunks[chunk].bytes[at..end].to_vec();
                chunks[chunk].bytes.splice(at..at, repeated);
            }
            5 => {
                let inserted = [20, 3, 3, 0, 1, 1];
                chunks[chunk].bytes.splice(at..at, inserted);
            }
            _ => {
                let other = self.below(chunks.len());
                chunks.swap(chunk, other);
            }
        }
    }
}
