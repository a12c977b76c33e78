//! Records: what is skipped, what is refused.

use super::*;

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
    // Its record's header, its own header, and 91 bytes: exactly the limit. One byte more is too much.
    let mut tap = HelloTap::with_limit(100);
    tap.clone()
        .client_bytes(&[22, 3, 1, 0, 95, 1, 0, 0, 91])
        .expect("a message that fits");
    assert_eq!(
        tap.client_bytes(&[22, 3, 1, 0, 96, 1, 0, 0, 92]),
        Err(HelloError::LimitExceeded {
            from: CLIENT,
            limit: 100
        })
    );
}
