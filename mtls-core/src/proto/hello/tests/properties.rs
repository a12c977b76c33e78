//! The tap over streams that are cut anywhere, and records that are cut anywhere.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Bytes of one end, which its peer waits for.
#[derive(Clone, Debug)]
struct Flight {
    from: Role,
    bytes: Vec<u8>,
}

/// A handshake's hellos, and where to cut them.
#[derive(Clone, Debug)]
struct Handshake {
    messages: Vec<(Role, Vec<u8>)>,
    /// The lengths of the records of each message; the last has the rest.
    records: Vec<Vec<usize>>,
    /// Before the second message of an end, as in the middlebox compatibility mode.
    change_cipher_spec: bool,
}

fn extensions() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    // Without those that mean something.
    vec((100_u16..200, vec(any::<u8>(), 0..50)), 0..6)
}

fn as_slices(extensions: &[(u16, Vec<u8>)]) -> Vec<(u16, &[u8])> {
    extensions
        .iter()
        .map(|(kind, data)| (*kind, &data[..]))
        .collect()
}

fn handshake() -> impl Strategy<Value = Handshake> {
    let records = || vec(vec(1_usize..40, 0..6), 4);
    (
        extensions(),
        extensions(),
        any::<bool>(),
        records(),
        any::<bool>(),
    )
        .prop_map(|(client, server, retries, records, change_cipher_spec)| {
            let hello = client_hello(&as_slices(&client));
            let mut selected = vec![(43, &[3, 4][..]), (51, &KEY_SHARE[..])];
            selected.extend(as_slices(&server));
            let answer = server_hello_with(&[9; 32], &selected);
            let mut messages = vec![(CLIENT, hello.clone()), (SERVER, answer)];
            if retries {
                messages.splice(1..1, [(SERVER, retry_request()), (CLIENT, hello)]);
            }
            Handshake {
                messages,
                records,
                change_cipher_spec,
            }
        })
}

impl Handshake {
    fn flights(&self) -> Vec<Flight> {
        let mut flights = Vec::new();
        for (index, (from, message)) in self.messages.iter().enumerate() {
            let mut bytes = Vec::new();
            if index > 1 && self.change_cipher_spec {
                bytes.extend(record(20, &[1]));
            }
            bytes.extend(in_records(message, &self.records[index]));
            flights.push(Flight { from: *from, bytes });
        }
        flights
    }

    fn hash(&self) -> HelloHash {
        let messages = self.messages.iter().map(|(_, message)| &message[..]);
        hash(&messages.collect::<Vec<_>>())
    }
}

fn in_records(mut message: &[u8], lengths: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &length in lengths {
        if length >= message.len() {
            break;
        }
        let (content, rest) = message.split_at(length);
        bytes.extend(record(22, content));
        message = rest;
    }
    bytes.extend(record(22, message));
    bytes
}

/// Feeds the flights in pieces of these lengths, over and over, until the tap refuses.
fn feed_pieces(flights: &[Flight], lengths: &[usize], limit: usize) -> HelloTap {
    let mut tap = HelloTap::with_limit(limit);
    let mut lengths = lengths.iter().cycle();
    for Flight { from, bytes } in flights {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = lengths.next().copied().unwrap_or(rest.len());
            let (piece, after) = rest.split_at(length.min(rest.len()));
            if feed(&mut tap, *from, piece).is_err() {
                return tap;
            }
            rest = after;
        }
    }
    tap
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_hash_is_that_of_the_messages_however_they_are_cut_into_records_and_pieces(
        handshake in handshake(),
        lengths in vec(1_usize..100, 0..8),
    ) {
        let tap = feed_pieces(&handshake.flights(), &lengths, MAX_HELLO_BYTES);
        let hello = tap.hello().map(|hello| hello.hello_hash);
        prop_assert_eq!(hello, Some(handshake.hash()));
        let retried = tap.negotiated().map(|negotiated| negotiated.retried);
        prop_assert_eq!(retried, Some(handshake.messages.len() > 2));
        let passed = Flight { from: SERVER, bytes: vec![0xff; 100] };
        let flights = [handshake.flights(), vec![passed]].concat();
        prop_assert!(feed_pieces(&flights, &lengths, MAX_HELLO_BYTES) == tap, "it reads no more");
    }

    #[test]
    fn damaged_streams_give_the_same_answer_in_one_piece_and_in_many(
        handshake in handshake(),
        lengths in vec(1_usize..30, 1..8),
        damage in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..4),
        limit in 20_usize..2_000,
    ) {
        let mut flights = handshake.flights();
        for (flight, byte, value) in damage {
            let bytes = &mut flight.get_mut(&mut flights).bytes;
            *byte.get_mut(bytes) = value;
        }
        let whole = feed_pieces(&flights, &[], limit);
        let cut = feed_pieces(&flights, &lengths, limit);
        prop_assert_eq!(whole.expect, cut.expect);
        prop_assert_eq!(whole.hello(), cut.hello());
        prop_assert_eq!(whole.association(), cut.association());
        prop_assert_eq!(whole.negotiated(), cut.negotiated());
        for role in [CLIENT, SERVER] {
            prop_assert_eq!(whole.hello_end(role), cut.hello_end(role));
            prop_assert!(whole.bytes_read(role) <= limit);
        }
    }

    #[test]
    fn arbitrary_bytes_give_the_same_answer_in_one_piece_and_in_many(
        flights in vec((any::<bool>(), vec(any::<u8>(), 0..60)), 0..5),
        lengths in vec(1_usize..30, 1..8),
    ) {
        let flight = |(client, bytes)| Flight { from: if client { CLIENT } else { SERVER }, bytes };
        let flights: Vec<Flight> = flights.into_iter().map(flight).collect();
        let whole = feed_pieces(&flights, &[], 50);
        let cut = feed_pieces(&flights, &lengths, 50);
        prop_assert_eq!(whole.expect, cut.expect);
        prop_assert_eq!(whole.association(), cut.association());
    }
}
