//! The results of the tap: the hash, the association, the ends of the hellos.

use super::*;

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
fn warnings_of_the_server_are_skipped_and_change_no_hash() {
    let server = record(22, &server_hello());
    for piece in [1, 3, 4096] {
        let mut tap = offered();
        let warned = [record(21, &[1, 112]).repeat(4), server.clone()].concat();
        for piece in warned.chunks(piece) {
            tap.server_bytes(piece).expect("warnings and a ServerHello");
        }
        assert_eq!(tap.warning(), Some(112));
        assert_eq!(tap.hello(), complete().hello(), "as without the warnings");
        assert_eq!(tap.hello_end(SERVER), warned.len());
    }
}

#[test]
fn warning_before_an_older_server_hello_leaves_it_an_older_one() {
    let mut tap = offered();
    tap.server_bytes(&record(21, &[1, 112])).expect("a warning");
    let older = server_hello_with(&[9; 32], &[]);
    let error = tap.server_bytes(&record(22, &older));
    assert_eq!(error, Err(HelloError::NotTls13 { selected: 0x0303 }));
}

#[test]
fn alerts_that_are_no_warnings_of_a_server_before_its_hello_are_refused() {
    let alert = |from, description| Err(HelloError::Alert { from, description });
    for (mut tap, from, bytes, description) in [
        (offered(), SERVER, record(21, &[2, 112]), 112),
        (offered(), SERVER, record(21, &[0, 112]), 112),
        (offered(), SERVER, record(21, &[1, 0]), 0),
        (offered(), SERVER, record(21, &[1, 112]).repeat(5), 112),
        (offered(), CLIENT, record(21, &[1, 112]), 112),
        (HelloTap::new(), CLIENT, record(21, &[1, 112]), 112),
        (HelloTap::new(), SERVER, record(21, &[1, 112]), 112),
        (retried(), SERVER, record(21, &[1, 112]), 112),
    ] {
        let fed = feed(&mut tap, from, &bytes);
        assert_eq!(fed, alert(from, description), "{bytes:?}");
    }
    let inside = [
        &record(22, &server_hello()[..9])[..],
        &record(21, &[1, 112]),
    ]
    .concat();
    let error = HelloError::InterleavedRecord {
        from: SERVER,
        kind: 21,
    };
    assert_eq!(offered().server_bytes(&inside), Err(error));
}

#[test]
fn after_the_server_hello_all_bytes_pass() {
    let mut tap = complete();
    let before = tap.clone();
    tap.client_bytes(b"no TLS at all")
        .expect("bytes pass unread");
    tap.server_bytes(&[0xff; 1000]).expect("bytes pass unread");
    assert_eq!(tap, before, "no byte of them is stored");
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
