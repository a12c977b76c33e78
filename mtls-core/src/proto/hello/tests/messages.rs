//! The hellos themselves: what is refused, and the odd that must pass.

use super::*;

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
