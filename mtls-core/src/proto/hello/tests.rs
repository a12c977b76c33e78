//! Hellos put together by hand: one for each place of refusal, and the odd that must pass.

use super::*;

const CLIENT: Role = Role::Client;
const SERVER: Role = Role::Server;

const RETRY_RANDOM: &str = "HelloRetryRequest";

#[test]
fn hash_covers_the_messages_with_their_headers_in_order() {
    let (client, server) = (client_hello(&[]), server_hello());
    let mut tap = HelloTap::new();
    assert_eq!(tap.association(), None);
    tap.client_bytes(&record(22, &client))
        .expect("a ClientHello");
    assert_eq!(
        tap.association(),
        Some(Association::from_client_random(&[7; 32]))
    );
    assert_eq!(tap.hello(), None);
    tap.server_bytes(&record(22, &server))
        .expect("a ServerHello");
    let hello = tap.hello().expect("both hellos are complete");
    assert_eq!(Some(hello.association), tap.association());
    assert_eq!(hello.hello_hash, hash(&[&client, &server]));
}

#[test]
fn retry_adds_both_its_messages_to_the_hash() {
    let (first, retry) = (client_hello(&[]), retry_request());
    let (second, server) = (client_hello(&[(0x1a1a, b"")]), server_hello());
    let mut tap = HelloTap::new();
    let steps: [(Role, Vec<u8>); 6] = [
        (CLIENT, record(22, &first)),
        (SERVER, record(22, &retry)),
        (SERVER, record(20, &[1])),
        (CLIENT, record(20, &[1])),
        (CLIENT, record(22, &second)),
        (SERVER, record(22, &server)),
    ];
    for (from, bytes) in &steps {
        assert_eq!(tap.hello(), None);
        feed(&mut tap, *from, bytes).expect("an honest retry");
    }
    let hello = tap.hello().expect("all hellos are complete");
    assert_eq!(hello.hello_hash, hash(&[&first, &retry, &second, &server]));
}

#[test]
fn ends_of_the_hellos_are_known_however_the_bytes_are_cut() {
    let first = record(22, &client_hello(&[]));
    let retry = record(22, &retry_request());
    let second = record(22, &client_hello(&[(0x1a1a, b"")]));
    let server = record(22, &server_hello());
    let change = record(20, &[1]);
    for piece in [1, 7, 4096] {
        let mut tap = HelloTap::new();
        let mut pass = |from: Role, bytes: &[u8]| {
            for piece in bytes.chunks(piece) {
                feed(&mut tap, from, piece).expect("an honest retry");
            }
            (tap.hello_end(CLIENT), tap.hello_end(SERVER))
        };
        assert_eq!(pass(CLIENT, &first[..first.len() - 1]), (0, 0));
        assert_eq!(pass(CLIENT, &first[first.len() - 1..]), (first.len(), 0));
        let retried = (first.len(), retry.len());
        assert_eq!(pass(SERVER, &[&retry[..], &change].concat()), retried);
        let both = first.len() + change.len() + second.len();
        let again = pass(CLIENT, &[&change[..], &second].concat());
        assert_eq!(again, (both, retry.len()));
        let all = retry.len() + change.len() + server.len();
        assert_eq!(pass(SERVER, &[&server[..], &change].concat()), (both, all));
        assert_eq!(tap.bytes_read(SERVER), all, "nothing after the ServerHello");
    }
}

#[test]
fn alert_ends_where_the_tap_stopped() {
    let mut tap = offered();
    let alert = record(21, &[2, 40]);
    let more = [&alert[..], b"more"].concat();
    tap.server_bytes(&more).expect_err("an alert");
    assert_eq!(tap.bytes_read(SERVER), alert.len());
}

#[test]
fn after_the_server_hello_all_bytes_pass() {
    let mut tap = complete();
    let before = tap.clone();
    tap.client_bytes(b"no TLS at all")
        .expect("bytes pass unread");
    tap.server_bytes(&[0xff; 1000]).expect("bytes pass unread");
    assert_eq!(tap, before);
    assert_eq!(tap.transcript.capacity(), 0);
}

#[test]
fn first_error_is_final_and_keeps_the_association() {
    let mut tap = HelloTap::new();
    tap.client_bytes(&record(22, &client_hello(&[])))
        .expect("a ClientHello");
    let association = tap.association();
    let error = HelloError::Alert {
        from: SERVER,
        description: 40,
    };
    assert_eq!(tap.server_bytes(&record(21, &[2, 40])), Err(error));
    assert_eq!(tap.server_bytes(&record(22, &server_hello())), Err(error));
    assert_eq!(tap.client_bytes(b""), Err(error));
    assert_eq!(tap.hello(), None);
    assert!(association.is_some());
    assert_eq!(tap.association(), association);
}

#[test]
fn tls_1_2_is_refused_with_its_association() {
    // OpenSSL puts its whole flight of TLS 1.2 into one record.
    let mut flight = server_hello_with(&[9; 32], &[(0xff01, &[0])]);
    flight.extend(message(11, &[0; 100]));
    let mut tap = offered();
    assert_eq!(
        tap.server_bytes(&record(22, &flight)),
        Err(HelloError::NotTls13 { selected: 0x0303 })
    );
    assert!(tap.association().is_some());
    let draft = server_hello_with(&[9; 32], &[(43, &[0x7f, 0x1c]), (51, &KEY_SHARE)]);
    assert_eq!(
        offered().server_bytes(&record(22, &draft)),
        Err(HelloError::NotTls13 { selected: 0x7f1c })
    );
    let bare = message(2, &[&[3, 1][..], &[9; 32], &[0, 0, 5, 0]].concat());
    assert_eq!(
        offered().server_bytes(&record(22, &bare)),
        Err(HelloError::NotTls13 { selected: 0x0301 })
    );
}

#[test]
fn retry_request_must_select_tls_1_3_too() {
    let retry = server_hello_with(&retry_random(), &[(51, &[0, 23])]);
    assert_eq!(
        offered().server_bytes(&record(22, &retry)),
        Err(HelloError::NotTls13 { selected: 0x0303 })
    );
}

#[test]
fn server_hello_without_key_share_is_refused() {
    let server = server_hello_with(&[9; 32], &[(43, &[3, 4])]);
    assert_eq!(
        offered().server_bytes(&record(22, &server)),
        Err(HelloError::NoKeyShare)
    );
}

#[test]
fn second_client_hello_with_another_random_is_refused() {
    let mut second = client_hello(&[]);
    second[4 + 2] ^= 1;
    assert_eq!(
        retried().client_bytes(&record(22, &second)),
        Err(HelloError::OtherRandom)
    );
}

#[test]
fn second_client_hello_with_early_data_is_refused() {
    assert_eq!(
        retried().client_bytes(&record(22, &client_hello(&[(42, b"")]))),
        Err(HelloError::EarlyDataAfterRetry)
    );
}

#[test]
fn second_retry_request_is_refused() {
    let mut tap = retried();
    tap.client_bytes(&record(22, &client_hello(&[])))
        .expect("the second ClientHello");
    assert_eq!(
        tap.server_bytes(&record(22, &retry_request())),
        Err(HelloError::SecondRetryRequest)
    );
}

#[test]
fn messages_out_of_turn_are_refused() {
    let (client, server) = (record(22, &client_hello(&[])), record(22, &server_hello()));
    let from_server = HelloError::OutOfTurn {
        from: SERVER,
        kind: 2,
    };
    let from_client = HelloError::OutOfTurn {
        from: CLIENT,
        kind: 1,
    };
    assert_eq!(HelloTap::new().server_bytes(&server), Err(from_server));
    assert_eq!(offered().client_bytes(&client), Err(from_client));
    assert_eq!(retried().server_bytes(&server), Err(from_server));
}

#[test]
fn other_messages_than_hellos_are_refused_at_their_first_byte() {
    assert_eq!(
        HelloTap::new().client_bytes(&[22, 3, 1, 0, 9, 2]),
        Err(HelloError::NotAClientHello { kind: 2 })
    );
    assert_eq!(
        offered().server_bytes(&[22, 3, 3, 0, 9, 11]),
        Err(HelloError::NotAServerHello { kind: 11 })
    );
}

#[test]
fn record_that_goes_on_after_a_hello_is_refused() {
    let flight = [server_hello(), message(8, &[0, 0])].concat();
    let mut tap = offered();
    assert_eq!(
        tap.server_bytes(&record(22, &flight)),
        Err(HelloError::BytesAfterHello { from: SERVER })
    );
    assert_eq!(tap.hello(), None);
    let twice = [client_hello(&[]), client_hello(&[])].concat();
    assert_eq!(
        HelloTap::new().client_bytes(&record(22, &twice)),
        Err(HelloError::BytesAfterHello { from: CLIENT })
    );
}

#[test]
fn what_is_no_tls_record_is_refused() {
    let refused = |bytes: &[u8]| HelloTap::new().client_bytes(bytes).expect_err("no TLS");
    let from = CLIENT;
    assert_eq!(
        refused(b"GET / HTTP/1.1"),
        HelloError::UnknownRecordType { from, kind: b'G' }
    );
    assert_eq!(
        refused(&[24, 3, 3, 0, 1]),
        HelloError::UnknownRecordType { from, kind: 24 }
    );
    assert_eq!(
        refused(&[22, 2, 0, 0, 1]),
        HelloError::RecordVersion {
            from,
            version: 0x0200
        }
    );
    for kind in [20, 21, 22, 23] {
        assert_eq!(
            refused(&[kind, 3, 3, 0, 0]),
            HelloError::EmptyRecord { from }
        );
    }
}

#[test]
fn record_lengths_are_bounded_by_their_type() {
    let header = |kind: u8, len: u16| {
        let [high, low] = len.to_be_bytes();
        [kind, 3, 3, high, low]
    };
    for (kind, longest) in [(20, 1), (21, 2), (22, 1 << 14), (23, (1 << 14) + 256)] {
        let mut tap = HelloTap::new();
        tap.client_bytes(&record(22, &client_hello(&[(42, b"")])))
            .expect("a ClientHello");
        let mut other = tap.clone();
        tap.client_bytes(&header(kind, longest))
            .expect("the longest record");
        assert_eq!(
            other.client_bytes(&header(kind, longest + 1)),
            Err(HelloError::RecordLength {
                from: CLIENT,
                kind,
                len: usize::from(longest) + 1
            })
        );
    }
}

#[test]
fn record_version_is_ignored() {
    for version in 0..=255 {
        let mut bytes = record(22, &client_hello(&[]));
        bytes[2] = version;
        HelloTap::new()
            .client_bytes(&bytes)
            .expect("the version is to be ignored");
    }
}

#[test]
fn change_cipher_spec_is_ignored_after_the_client_hello_only() {
    let spec = record(20, &[1]);
    for from in [CLIENT, SERVER] {
        let mut early = HelloTap::new();
        let refused = Err(HelloError::EarlyChangeCipherSpec { from });
        assert_eq!(feed(&mut early, from, &spec), refused);
        let mut tap = offered();
        feed(&mut tap, from, &spec).expect("compatibility mode");
        let refused = Err(HelloError::ChangeCipherSpecValue { from, value: 2 });
        assert_eq!(feed(&mut tap, from, &record(20, &[2])), refused);
    }
}

#[test]
fn other_records_inside_a_message_are_refused() {
    let client = client_hello(&[(42, b"")]);
    for (kind, content) in [(20, &[1][..]), (21, &[2, 40]), (23, &[0; 20])] {
        let mut tap = HelloTap::new();
        tap.client_bytes(&record(22, &client[..10]))
            .expect("a part of a ClientHello");
        assert_eq!(
            tap.client_bytes(&record(kind, content)),
            Err(HelloError::InterleavedRecord { from: CLIENT, kind })
        );
    }
}

#[test]
fn early_data_is_skipped_only_where_it_was_offered() {
    let data = record(23, &[0; 500]);
    let client = client_hello(&[(42, b"")]);
    let mut tap = HelloTap::new();
    tap.client_bytes(&record(22, &client))
        .expect("a ClientHello");
    assert!(tap.offers_early_data());
    tap.client_bytes(&[record(20, &[1]), data.clone(), data.clone()].concat())
        .expect("early data");
    let refused = Err(HelloError::EarlyApplicationData { from: SERVER });
    assert_eq!(tap.clone().server_bytes(&data), refused);
    tap.server_bytes(&record(22, &server_hello()))
        .expect("a ServerHello");
    let hello = tap.hello().expect("both hellos are complete");
    assert_eq!(hello.hello_hash, hash(&[&client, &server_hello()]));

    let mut tap = offered();
    assert!(!tap.offers_early_data());
    let refused = Err(HelloError::EarlyApplicationData { from: CLIENT });
    assert_eq!(tap.client_bytes(&data), refused);
}

#[test]
fn early_data_in_flight_is_skipped_after_a_retry_request() {
    let mut tap = HelloTap::new();
    tap.client_bytes(&record(22, &client_hello(&[(42, b"")])))
        .expect("a ClientHello");
    tap.server_bytes(&record(22, &retry_request()))
        .expect("a HelloRetryRequest");
    tap.client_bytes(&record(23, &[0; 99]))
        .expect("early data in flight");
    tap.client_bytes(&record(22, &client_hello(&[])))
        .expect("the second ClientHello");
    tap.server_bytes(&record(22, &server_hello()))
        .expect("a ServerHello");
    assert!(tap.hello().is_some());
}

#[test]
fn limit_names_its_direction() {
    let padded = client_hello(&[(42, b""), (21, &[0; 100])]);
    let (client, server) = (record(22, &padded), record(22, &server_hello()));
    let limit = client.len();
    let mut tap = HelloTap::with_limit(limit);
    tap.client_bytes(&client).expect("exactly the limit");
    assert_eq!(
        tap.clone().client_bytes(&[23]),
        Err(HelloError::LimitExceeded {
            from: CLIENT,
            limit
        })
    );
    let specs = record(20, &[1]).repeat(100);
    assert_eq!(
        tap.clone().server_bytes(&specs),
        Err(HelloError::LimitExceeded {
            from: SERVER,
            limit
        })
    );
    tap.server_bytes(&[&server[..], &[0; 1000]].concat())
        .expect("what follows the ServerHello does not count");
    assert!(tap.hello().is_some());
}

#[test]
fn message_beyond_the_limit_is_refused_by_its_header() {
    let mut tap = HelloTap::new();
    assert_eq!(
        tap.client_bytes(&[22, 3, 1, 0x40, 0, 1, 1, 0, 1]),
        Err(HelloError::LimitExceeded {
            from: CLIENT,
            limit: 64 * 1024
        })
    );
}

#[test]
fn every_prefix_of_a_hello_misses_a_field() {
    let (client, server) = (client_hello(&[(0, &sni(b"a.example"))]), server_hello());
    for len in 0..client.len() - 4 {
        let cut = message(1, &client[4..4 + len]);
        match HelloTap::new().client_bytes(&record(22, &cut)) {
            Err(HelloError::MissingField {
                message: "ClientHello",
                ..
            }) => {}
            // A ClientHello of TLS 1.2 may end before its extensions.
            Ok(()) => assert_eq!(len, 2 + 32 + 33 + 6 + 2),
            other => panic!("{len} bytes gave {other:?}"),
        }
    }
    for len in 0..server.len() - 4 {
        let cut = message(2, &server[4..4 + len]);
        match offered().server_bytes(&record(22, &cut)) {
            Err(HelloError::MissingField {
                message: "ServerHello",
                ..
            }) => {}
            Err(HelloError::NotTls13 { .. }) => assert_eq!(len, 2 + 32 + 33 + 3),
            other => panic!("{len} bytes gave {other:?}"),
        }
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let mut client = client_hello(&[])[4..].to_vec();
    client.push(0);
    assert_eq!(
        HelloTap::new().client_bytes(&record(22, &message(1, &client))),
        Err(trailing("ClientHello", "extensions"))
    );
    let mut server = server_hello()[4..].to_vec();
    server.push(0);
    assert_eq!(
        offered().server_bytes(&record(22, &message(2, &server))),
        Err(trailing("ServerHello", "extensions"))
    );
    let version = server_hello_with(&[9; 32], &[(43, &[3, 4, 0]), (51, &KEY_SHARE)]);
    assert_eq!(
        offered().server_bytes(&record(22, &version)),
        Err(trailing("ServerHello", "selected_version"))
    );
    let share = server_hello_with(&[9; 32], &[(43, &[3, 4]), (51, &[0, 29, 0, 1, 5, 0])]);
    assert_eq!(
        offered().server_bytes(&record(22, &share)),
        Err(trailing("ServerHello", "key_exchange"))
    );
    let names = [&sni(b"a.example")[..], &[0]].concat();
    assert_eq!(
        HelloTap::new().client_bytes(&record(22, &client_hello(&[(0, &names)]))),
        Err(trailing("ClientHello", "server_name_list"))
    );
}

#[test]
fn extensions_that_the_tap_reads_may_not_repeat() {
    for extension in [0, 42] {
        let data = if extension == 0 {
            sni(b"a.example")
        } else {
            vec![]
        };
        let client = client_hello(&[(extension, &data), (extension, &data)]);
        assert_eq!(
            HelloTap::new().client_bytes(&record(22, &client)),
            Err(HelloError::DuplicateExtension {
                message: "ClientHello",
                extension
            })
        );
    }
    for (extension, data) in [(43, &[3, 4][..]), (51, &KEY_SHARE)] {
        let extensions = [(43, &[3, 4][..]), (51, &KEY_SHARE), (extension, data)];
        assert_eq!(
            offered().server_bytes(&record(22, &server_hello_with(&[9; 32], &extensions))),
            Err(HelloError::DuplicateExtension {
                message: "ServerHello",
                extension
            })
        );
    }
}

#[test]
fn field_lengths_are_checked() {
    let refused = |session: usize, suites: usize, compression: usize| {
        let body = client_body(session, suites, compression, &[]);
        HelloTap::new().client_bytes(&record(22, &message(1, &body)))
    };
    let length = |message, field, len| {
        Err(HelloError::FieldLength {
            message,
            field,
            len,
        })
    };
    assert_eq!(refused(0, 2, 1), Ok(()));
    assert_eq!(
        refused(33, 2, 1),
        length("ClientHello", "legacy_session_id", 33)
    );
    assert_eq!(refused(0, 0, 1), length("ClientHello", "cipher_suites", 0));
    assert_eq!(refused(0, 3, 1), length("ClientHello", "cipher_suites", 3));
    assert_eq!(
        refused(0, 2, 0),
        length("ClientHello", "legacy_compression_methods", 0)
    );
    let early = client_hello(&[(42, &[0, 0, 0, 0])]);
    assert_eq!(
        HelloTap::new().client_bytes(&record(22, &early)),
        length("ClientHello", "early_data", 4)
    );
    let share = server_hello_with(&[9; 32], &[(43, &[3, 4]), (51, &[0, 29, 0, 0])]);
    assert_eq!(
        offered().server_bytes(&record(22, &share)),
        length("ServerHello", "key_exchange", 0)
    );
}

#[test]
fn odd_but_well_formed_client_hellos_pass() {
    let long = [0; 40_000];
    let odd = [
        client_body(0, 2, 1, &[]),
        client_body(32, 2, 255, &[(0x0a0a, b""), (0x0a0a, b""), (0xffff, &[0])]),
        client_body(7, 65_534, 1, &[]),
        client_body(0, 2, 1, &[(21, &long)]),
        client_body(0, 2, 1, &[(0, &[0, 0])]),
    ];
    for body in odd {
        let client = message(1, &body);
        let mut tap = HelloTap::with_limit(100_000);
        for part in client.chunks(1 << 14) {
            tap.client_bytes(&record(22, part))
                .expect("a well-formed ClientHello");
        }
        tap.server_bytes(&record(22, &server_hello()))
            .expect("a ServerHello");
        let hello = tap.hello().expect("both hellos are complete");
        assert_eq!(hello.hello_hash, hash(&[&client, &server_hello()]));
    }
}

#[test]
fn server_name_is_given_only_if_it_is_fit_for_a_log() {
    let name = |extension: &[u8]| {
        let mut tap = HelloTap::new();
        tap.client_bytes(&record(22, &client_hello(&[(0, extension)])))
            .expect("a ClientHello");
        tap.server_name().map(str::to_owned)
    };
    assert_eq!(name(&sni(b"a.example")).as_deref(), Some("a.example"));
    assert_eq!(name(&sni(b"a\nb")), None);
    assert_eq!(name(&sni(b"\x1b[2J")), None);
    assert_eq!(name(&sni("ä.example".as_bytes())), None);
    assert_eq!(name(&[0, 4, 5, 0, 1, b'x']), None);
    assert_eq!(offered().server_name(), None);
}

#[test]
fn debug_prints_no_bytes_of_the_connection() {
    let mut tap = offered();
    tap.server_bytes(&record(22, &server_hello())[..20])
        .expect("a part of a ServerHello");
    let printed = format!("{tap:?}");
    assert!(printed.starts_with("HelloTap { expect: ServerHello, association: Some(Association("));
    assert!(!printed.contains("7, 7"), "{printed}");
}

const KEY_SHARE: [u8; 8] = [0, 29, 0, 4, 1, 2, 3, 4];

fn feed(tap: &mut HelloTap, from: Role, bytes: &[u8]) -> Result<(), HelloError> {
    match from {
        Role::Client => tap.client_bytes(bytes),
        Role::Server => tap.server_bytes(bytes),
    }
}

/// A tap that has seen a ClientHello.
fn offered() -> HelloTap {
    let mut tap = HelloTap::new();
    tap.client_bytes(&record(22, &client_hello(&[])))
        .expect("a ClientHello");
    tap
}

/// A tap that has seen a HelloRetryRequest.
fn retried() -> HelloTap {
    let mut tap = offered();
    tap.server_bytes(&record(22, &retry_request()))
        .expect("a HelloRetryRequest");
    tap
}

/// A tap that has seen all.
fn complete() -> HelloTap {
    let mut tap = offered();
    tap.server_bytes(&record(22, &server_hello()))
        .expect("a ServerHello");
    tap
}

fn hash(messages: &[&[u8]]) -> HelloHash {
    HelloHash(Sha256::digest(messages.concat()).into())
}

fn trailing(message: &'static str, field: &'static str) -> HelloError {
    HelloError::TrailingBytes {
        message,
        field,
        trailing: 1,
    }
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &vector16(content)[..]].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len())
        .expect("a short message")
        .to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

fn client_hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    message(1, &client_body(32, 4, 1, extensions))
}

fn client_body(
    session: usize,
    suites: usize,
    compression: usize,
    extensions: &[(u16, &[u8])],
) -> Vec<u8> {
    [
        &[3, 3][..],
        &[7; 32],
        &vector8(&vec![8; session]),
        &vector16(&vec![0x13; suites]),
        &vector8(&vec![0; compression]),
        &vector16(&extension_list(extensions)),
    ]
    .concat()
}

fn server_hello() -> Vec<u8> {
    server_hello_with(&[9; 32], &[(43, &[3, 4]), (51, &KEY_SHARE)])
}

fn retry_request() -> Vec<u8> {
    server_hello_with(&retry_random(), &[(43, &[3, 4]), (51, &[0, 23])])
}

fn retry_random() -> [u8; 32] {
    Sha256::digest(RETRY_RANDOM).into()
}

fn server_hello_with(random: &[u8; 32], extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let extensions = vector16(&extension_list(extensions));
    let body = [
        &[3, 3][..],
        random,
        &vector8(&[8; 32]),
        &[0x13, 1, 0],
        &extensions,
    ]
    .concat();
    message(2, &body)
}

fn sni(name: &[u8]) -> Vec<u8> {
    vector16(&[&[0], &vector16(name)[..]].concat())
}

fn extension_list(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    extensions
        .iter()
        .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &vector16(data)].concat())
        .collect()
}

fn vector8(content: &[u8]) -> Vec<u8> {
    [
        &[u8::try_from(content.len()).expect("a short vector")],
        content,
    ]
    .concat()
}

fn vector16(content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("a short vector");
    [&len.to_be_bytes()[..], content].concat()
}
