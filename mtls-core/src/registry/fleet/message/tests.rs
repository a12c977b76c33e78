use super::*;
use crate::proto::binding::Bindings;

const ME: MachineId = MachineId(7);

fn keys(byte: u8) -> FleetKeys {
    FleetKeys::new(&[byte; FleetKeys::KEY_LEN])
}

fn key(byte: u8) -> RegistryKey {
    RegistryKey {
        service: ServiceId::from_name("shop"),
        association: Association([byte; 16]),
    }
}

fn found() -> Found {
    let secrets = SideSecrets {
        exporter: Some(SideSecret::new([0xee; 32])),
        hello: Some(SideSecret::new([0xaa; 32])),
    };
    Found::new(
        RegistrationId(5 << 112 | 9),
        Arc::new(HandshakeKeys::Tls13(secrets)),
    )
}

fn confirmation() -> Confirmation {
    let nonce = [3; 32];
    let context = SideContext::new(
        &key(1).association,
        &nonce,
        Bindings::ALL,
        &nonce,
        Binding::Exporter,
    );
    Confirmation {
        association: key(1).association,
        registration: RegistrationId(u128::MAX),
        binding: Binding::Exporter,
        context,
    }
}

fn bodies() -> Vec<Body> {
    let service = ServiceId::from_name("shop");
    let side = |peer: &str| ConfirmedSide::new(confirmation(), peer.parse().expect("an address"));
    vec![
        Body::Who([4; 16], key(1)),
        Body::Answer([4; 16], Holds::Found(found())),
        Body::Answer([4; 16], Holds::Nothing),
        Body::Answer([4; 16], Holds::Full),
        Body::Flushed(key(1), found()),
        Body::Opened(key(1), RegistrationId(9)),
        Body::Confirmed(service, side("192.0.2.1:443")),
        Body::Confirmed(service, side("[2001:db8::1]:443")),
        Body::Disputed(service, confirmation()),
        Body::Left(8),
    ]
}

/// `Debug` names every field except secrets, whose bytes are compared besides.
fn described(body: &Body) -> String {
    let mut text = Writer::default();
    body.write(&mut text);
    format!("{body:?} {:x?}", &*text.0)
}

#[test]
fn every_message_arrives_as_it_was_sent() {
    for body in bodies() {
        let sent = described(&body);
        let from = MachineId(300);
        let sealed = Message { from, body }
            .seal(&keys(1), Some(ME))
            .expect("random bytes");
        let opened = Message::open(&keys(1), ME, &sealed).expect("the fleet's own message");
        assert_eq!(opened.from, from);
        assert_eq!(described(&opened.body), sent);
    }
}

#[test]
fn a_message_that_is_cut_or_changed_or_to_another_machine_is_refused() {
    let message = Message {
        from: ME,
        body: Body::Flushed(key(1), found()),
    };
    let sealed = message.seal(&keys(1), Some(ME)).expect("random bytes");
    assert!(Message::open(&keys(1), MachineId(8), &sealed).is_none());
    assert!(Message::open(&keys(2), ME, &sealed).is_none());
    for end in 0..sealed.len() {
        assert!(
            Message::open(&keys(1), ME, &sealed[..end]).is_none(),
            "cut at {end}"
        );
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(
            Message::open(&keys(1), ME, &changed).is_none(),
            "changed at {at}"
        );
    }
}

/// The plain text of a machine that runs another version.
#[test]
fn a_text_with_too_few_or_too_many_bytes_is_refused() {
    for body in bodies() {
        let mut text = Writer::default();
        text.put(&ME.0.to_be_bytes());
        body.write(&mut text);
        let sealed = |text: &[u8]| {
            keys(1)
                .seal(&message_context(None), text)
                .expect("random bytes")
        };
        for end in 0..text.0.len() {
            let cut = sealed(&text.0[..end]);
            assert!(
                Message::open(&keys(1), ME, &cut).is_none(),
                "{body:?} cut at {end}"
            );
        }
        let long = sealed(&[&text.0[..], &[0]].concat());
        assert!(Message::open(&keys(1), ME, &long).is_none(), "{body:?}");
        let whole = sealed(&text.0);
        assert!(Message::open(&keys(1), ME, &whole).is_some(), "{body:?}");
    }
}

#[test]
fn a_record_opens_for_its_own_handshake_and_id_only() {
    let id = found().registration;
    let registered = seal_record(&keys(1), &key(1), &found()).expect("random bytes");
    let reserved = seal_reservation(&keys(1), &key(1), id).expect("random bytes");
    for (record, is_reserved) in [(registered, false), (reserved, true)] {
        let opened = open_record(&keys(1), &key(1), &record).expect("the fleet's own record");
        assert_eq!(opened.registration(), id);
        assert_eq!(matches!(opened, Record::Reserved(_)), is_reserved);
        assert_opens_nowhere_else(&record);
    }
}

fn assert_opens_nowhere_else(record: &[u8]) {
    assert!(open_record(&keys(1), &key(2), record).is_none());
    let other_service = RegistryKey {
        service: ServiceId::from_name("bank"),
        ..key(1)
    };
    assert!(open_record(&keys(1), &other_service, record).is_none());
    assert!(open_record(&keys(2), &key(1), record).is_none());
    for at in 0..record.len() {
        let mut changed = record.to_vec();
        changed[at] ^= 1;
        assert!(
            open_record(&keys(1), &key(1), &changed).is_none(),
            "changed at {at}"
        );
    }
}

#[test]
fn a_record_holds_no_secret_in_plain() {
    let record = seal_record(&keys(1), &key(1), &found()).expect("random bytes");
    for secret in [[0xee; 8], [0xaa; 8]] {
        assert!(!record.windows(8).any(|bytes| bytes == secret));
    }
}

#[test]
fn the_same_record_is_sealed_differently_each_time() {
    let seal = || seal_record(&keys(1), &key(1), &found()).expect("random bytes");
    assert_ne!(seal(), seal());
}

#[test]
fn a_key_that_is_rotated_out_still_opens_and_the_new_one_seals() {
    let old = keys(1);
    let both = keys(2).accept(&[1; FleetKeys::KEY_LEN]);
    let by_old = seal_record(&old, &key(1), &found()).expect("random bytes");
    assert!(open_record(&both, &key(1), &by_old).is_some());
    let by_both = seal_record(&both, &key(1), &found()).expect("random bytes");
    assert!(open_record(&keys(2), &key(1), &by_both).is_some());
    assert!(open_record(&old, &key(1), &by_both).is_none());
}

#[test]
fn keys_are_read_from_a_text_and_errors_name_the_line() {
    use super::super::seal::FleetKeysError;
    let line = "0123456789abcdefABCDEF0123456789abcdef0123456789abcdef0123456789";
    let read = |text: &str| FleetKeys::from_text(text).map(|_| ());
    assert_eq!(
        read(&format!("# made today\n\n{line}\n  {line}  \n")),
        Ok(())
    );
    assert_eq!(read("# nothing\n"), Err(FleetKeysError::Empty));
    assert_eq!(read(&[line; 3].join("\n")), Err(FleetKeysError::TooMany));
    for wrong in [&line[1..], &line.replace('0', "g"), "é"] {
        let error = read(&format!("{line}\n{wrong}")).expect_err("no key");
        assert_eq!(error, FleetKeysError::NotAKey(2));
        assert!(!error.to_string().contains(wrong), "{error}");
    }
}

#[test]
fn keys_and_messages_print_no_secret() {
    let printed = format!("{:?} {:?}", keys(0xee), Body::Flushed(key(1), found()));
    assert!(
        !printed.contains("238") && !printed.contains("ee, ee"),
        "{printed}"
    );
}
