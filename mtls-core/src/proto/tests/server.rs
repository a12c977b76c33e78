//! The server's machine against a client that misbehaves.

use super::*;

#[test]
fn a_wrong_confirm_is_disputed_and_a_strange_one_rejected() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.found();
    pair.events();
    let confirm = Frame {
        association: association(),
        body: FrameBody::Confirm {
            value: Value([0; 32]),
        },
    };
    pair.server.handle_frame(&confirm, pair.now);
    assert!(matches!(pair.events()[..], [ServerEvent::Disputed(about)]
        if about.registration == REGISTRATION));
    pair.server.handle_frame(&confirm, pair.now);
    assert!(pair.events().is_empty());
    let codes: Vec<_> = std::iter::from_fn(|| pair.server.poll_transmit())
        .filter_map(|frame| match frame.body {
            FrameBody::Reject { code } => Some(code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [RejectCode::WrongValue, RejectCode::Malformed]);
}

#[test]
fn a_second_open_for_one_handshake_ends_the_first() {
    let mut pair = Pair::new();
    let opened = pair.deliver_to_server();
    pair.server.handle_frame(&opened[0], pair.now);
    assert_eq!(pair.server.exchanges(), 0);
    assert!(
        pair.events()
            .contains(&ServerEvent::CancelLookup(association()))
    );
    pair.found();
    let frames: Vec<_> = std::iter::from_fn(|| pair.server.poll_transmit()).collect();
    assert!(matches!(
        frames[..],
        [Frame {
            body: FrameBody::Reject {
                code: RejectCode::Malformed
            },
            ..
        }]
    ));
}

#[test]
fn one_side_connection_carries_no_more_than_its_bound() {
    let limits = ServerLimits {
        exchanges: 2,
        ..ServerLimits::default()
    };
    let mut server = ServerVerifier::new(limits);
    let now = Instant::now();
    for random in 0..3_u8 {
        let open = Frame {
            association: Association::from_client_random(&[random; 32]),
            body: FrameBody::Open {
                nonce_c: [0; 32],
                bindings: Bindings::ALL,
            },
        };
        server.handle_frame(&open, now);
    }
    assert_eq!(server.exchanges(), 2);
    assert!(matches!(
        server.poll_transmit(),
        Some(Frame {
            body: FrameBody::Reject {
                code: RejectCode::Busy
            },
            ..
        })
    ));
    server.handle_timeout(now + limits.early_wait);
    assert_eq!(server.exchanges(), 0);
    assert_eq!(server.poll_timeout(), None);
}

fn codes(server: &mut ServerVerifier) -> Vec<RejectCode> {
    let sent = std::iter::from_fn(|| server.poll_transmit());
    sent.filter_map(|frame| match frame.body {
        FrameBody::Reject { code } => Some(code),
        _ => None,
    })
    .collect()
}

fn from_client(body: FrameBody) -> Frame {
    Frame {
        association: association(),
        body,
    }
}

#[test]
fn an_open_and_a_proof_wait_as_long_as_the_limits_say() {
    let limits = ServerLimits::default();
    let instant = Duration::from_nanos(1);
    let mut pair = Pair::new();
    pair.deliver_to_server();
    assert_eq!(
        pair.server.poll_timeout(),
        Some(pair.now + limits.early_wait)
    );
    pair.server
        .handle_timeout(pair.now + limits.early_wait - instant);
    assert_eq!(pair.server.exchanges(), 1);

    pair.now += Duration::from_secs(1);
    pair.found();
    pair.server.poll_transmit();
    let end = pair.now + limits.confirm_wait;
    assert_eq!(pair.server.poll_timeout(), Some(end));
    pair.server.handle_timeout(end - instant);
    assert_eq!(pair.server.exchanges(), 1);
    pair.server.handle_timeout(end);
    assert_eq!(pair.server.exchanges(), 0);
    assert_eq!(pair.server.poll_transmit(), None, "the client is not told");
}

#[test]
fn an_unknown_handshake_is_called_unknown_only_after_done() {
    for done in [false, true] {
        let mut pair = Pair::new();
        pair.deliver_to_server();
        if done {
            pair.server
                .handle_frame(&from_client(FrameBody::Done), pair.now);
        }
        pair.looked_up(&Lookup::Unknown);
        let expected = match done {
            false => RejectCode::EarlyWaitExpired,
            true => RejectCode::Unknown,
        };
        assert_eq!(codes(&mut pair.server), [expected]);
    }
}

#[test]
fn a_registry_that_does_not_answer_is_named() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.looked_up(&Lookup::Unavailable);
    assert_eq!(codes(&mut pair.server), [RejectCode::RegistryUnavailable]);
}

#[test]
fn a_second_done_looks_nothing_up() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.events();
    for lookups in [1, 0] {
        pair.server
            .handle_frame(&from_client(FrameBody::Done), pair.now);
        assert_eq!(pair.events().len(), lookups);
    }
}

#[test]
fn a_client_that_refuses_is_forgotten() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.events();
    let code = RejectCode::NoCommonBinding;
    pair.server
        .handle_frame(&from_client(FrameBody::Reject { code }), pair.now);
    assert_eq!(pair.server.exchanges(), 0);
    assert_eq!(pair.events(), [ServerEvent::CancelLookup(association())]);
    assert_eq!(pair.server.poll_transmit(), None);
}

#[test]
fn frames_out_of_order_are_malformed() {
    let value = Value([0; 32]);
    let proof = FrameBody::Proof {
        nonce_s: [0; 32],
        binding: Binding::Hello,
        value,
    };
    for body in [FrameBody::Confirm { value }, proof] {
        let mut pair = Pair::new();
        pair.deliver_to_server();
        pair.server.handle_frame(&from_client(body), pair.now);
        assert_eq!(codes(&mut pair.server), [RejectCode::Malformed]);
        assert_eq!(pair.server.exchanges(), 0);
    }
}

#[test]
fn a_server_offers_only_the_bindings_of_its_limits() {
    let hello = SideSecret::from_hello(&HelloHash([1; 32]));
    let both = HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(SideSecret::new([2; 32])),
        hello: Some(hello),
    });
    for binding in [Binding::Hello, Binding::Exporter] {
        let limits = ServerLimits {
            bindings: binding.into(),
            ..ServerLimits::default()
        };
        let mut pair = Pair::new();
        pair.server = ServerVerifier::new(limits);
        pair.keys = both.clone();
        pair.deliver_to_server();
        pair.found();
        let proof = pair.server.poll_transmit().expect("a Proof");
        assert!(
            matches!(proof.body, FrameBody::Proof { binding: chosen, .. } if chosen == binding)
        );
    }
}

#[test]
fn an_open_without_a_binding_of_the_server_is_refused_at_once() {
    let limits = ServerLimits {
        bindings: Binding::Exporter.into(),
        ..ServerLimits::default()
    };
    let mut pair = Pair::offering(Binding::Hello.into());
    pair.server = ServerVerifier::new(limits);
    pair.deliver_to_server();
    assert!(pair.events().is_empty(), "nothing is looked up");
    assert_eq!(codes(&mut pair.server), [RejectCode::NoCommonBinding]);
}
