//! Hellos in QUIC's CRYPTO streams, which have no records.

use super::*;

#[test]
fn crypto_streams_give_the_hash_of_records_however_they_are_cut() {
    let expected = complete().hello();
    for cut in 1..60 {
        let mut tap = HelloTap::new();
        for part in client_hello(&[]).chunks(cut) {
            tap.client_crypto(part).expect("a ClientHello");
        }
        for part in server_hello().chunks(cut) {
            tap.server_crypto(part).expect("a ServerHello");
        }
        assert_eq!(tap.hello(), expected, "cut into parts of {cut}");
    }
}

#[test]
fn a_crypto_stream_may_have_a_retry_request() {
    let mut tap = HelloTap::new();
    let mut step = |from, bytes: &[u8]| match from {
        Role::Client => tap.client_crypto(bytes),
        Role::Server => tap.server_crypto(bytes),
    };
    step(CLIENT, &client_hello(&[])).expect("a ClientHello");
    step(SERVER, &retry_request()).expect("a HelloRetryRequest");
    step(CLIENT, &client_hello(&[])).expect("a second ClientHello");
    step(SERVER, &server_hello()).expect("a ServerHello");
    let messages = [
        client_hello(&[]),
        retry_request(),
        client_hello(&[]),
        server_hello(),
    ];
    let expected = hash(&messages.each_ref().map(|message| &message[..]));
    assert_eq!(tap.hello().map(|hello| hello.hello_hash), Some(expected));
    assert!(tap.negotiated().is_some_and(|selected| selected.retried));
}

#[test]
fn bytes_behind_a_server_hello_in_a_crypto_stream_are_refused() {
    let mut tap = HelloTap::new();
    tap.client_crypto(&client_hello(&[]))
        .expect("a ClientHello");
    let flight = [server_hello(), message(8, &[0, 0])].concat();
    assert_eq!(
        tap.server_crypto(&flight),
        Err(HelloError::BytesAfterHello { from: SERVER })
    );
}

#[test]
fn a_crypto_stream_is_bounded() {
    let mut tap = HelloTap::with_limit(64);
    let refused = tap.client_crypto(&message(1, &[0; 100]));
    let limit = HelloError::LimitExceeded {
        from: CLIENT,
        limit: 64,
    };
    assert_eq!(refused, Err(limit));
}

#[test]
fn the_selected_parameters_are_those_of_the_server_hello() {
    let full = complete().negotiated().expect("a ServerHello");
    let expected = Negotiated {
        cipher_suite: 0x1301,
        group: 29,
        resumed: false,
        retried: false,
    };
    assert_eq!(full, expected);
    let psk: &[(u16, &[u8])] = &[(43, &[3, 4]), (51, &KEY_SHARE), (41, &[0, 0])];
    let mut tap = offered();
    tap.server_bytes(&record(22, &server_hello_with(&[9; 32], psk)))
        .expect("a ServerHello");
    assert!(tap.negotiated().is_some_and(|selected| selected.resumed));
    assert_eq!(
        retried().negotiated(),
        None,
        "a HelloRetryRequest selects nothing yet"
    );
}
