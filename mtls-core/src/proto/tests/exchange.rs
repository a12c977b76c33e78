//! The exchange of Open, Proof, Confirm and Done between the two machines.

use super::*;

#[test]
fn proof_before_tls_is_checked_when_tls_is_complete() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    assert_eq!(pair.check(1), None, "no keys yet");
    pair.tls_complete();
    let check = pair.check(1).expect("a check");
    assert!(
        matches!(pair.client.outcome(), ClientOutcome::Verified(proof)
        if proof.context() == &check.context && proof.binding() == Binding::Hello)
    );
    let sent = pair.deliver_to_server();
    assert!(
        matches!(
            sent[..],
            [Frame {
                body: FrameBody::Confirm { .. },
                ..
            }]
        ),
        "no Done"
    );
    let events = pair.events();
    let confirmed = events.iter().find_map(|event| match event {
        ServerEvent::Confirmed(confirmation) => Some(*confirmation),
        _ => None,
    });
    let confirmed = confirmed.expect("a confirmation");
    assert_eq!(confirmed.context, check.context);
    assert_eq!(confirmed.registration, REGISTRATION);
    assert_eq!(pair.server.exchanges(), 0);
}

#[test]
fn tls_before_proof_says_done_once() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.tls_complete();
    let sent = pair.deliver_to_server();
    assert!(matches!(
        sent[..],
        [Frame {
            body: FrameBody::Done,
            ..
        }]
    ));
    let modes: Vec<_> = pair
        .events()
        .into_iter()
        .map(|event| match event {
            ServerEvent::Lookup { mode, .. } => mode,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(modes, [LookupMode::UntilFlushed, LookupMode::Immediate]);
    pair.found();
    pair.deliver_to_client();
    assert!(pair.check(1).is_some());
    assert!(matches!(pair.client.outcome(), ClientOutcome::Verified(_)));
}

#[test]
fn another_transcript_is_an_interception() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    pair.tls_complete();
    pair.check(2);
    let wrong = SideFailure::Interception(InterceptionReason::WrongValue);
    assert_eq!(pair.failure(), wrong);
    assert!(pair.deliver_to_server().is_empty(), "nothing is confirmed");
}

#[test]
fn unknown_after_done_is_an_interception() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.tls_complete();
    pair.deliver_to_server();
    pair.looked_up(&Lookup::Unknown);
    pair.deliver_to_client();
    let unknown = SideFailure::Interception(InterceptionReason::UnknownHandshake);
    assert_eq!(pair.failure(), unknown);
}

#[test]
fn unknown_without_done_is_misbehaviour_and_no_interception() {
    let mut pair = Pair::new();
    let reject = Frame {
        association: association(),
        body: FrameBody::Reject {
            code: RejectCode::Unknown,
        },
    };
    pair.client.handle_frame(&reject, [1; 32]);
    assert_eq!(
        pair.failure(),
        SideFailure::Misbehaved(SideMisbehaved::UnknownWithoutDone)
    );
}

#[test]
fn early_wait_that_expired_is_asked_anew_with_done() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.now += ServerLimits::default().early_wait;
    pair.server.handle_timeout(pair.now);
    assert!(
        pair.events()
            .contains(&ServerEvent::CancelLookup(association()))
    );
    pair.deliver_to_client();
    assert_eq!(pair.client.outcome(), ClientOutcome::Pending);
    pair.tls_complete();
    let sent = pair.deliver_to_server();
    assert!(matches!(
        sent[..],
        [
            Frame {
                body: FrameBody::Open { .. },
                ..
            },
            Frame {
                body: FrameBody::Done,
                ..
            }
        ]
    ));
    pair.looked_up(&Lookup::Unknown);
    pair.deliver_to_client();
    let unknown = SideFailure::Interception(InterceptionReason::UnknownHandshake);
    assert_eq!(pair.failure(), unknown);
}

#[test]
fn a_server_without_a_waiting_place_is_asked_again_when_tls_is_complete() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.looked_up(&Lookup::Busy);
    pair.deliver_to_client();
    assert_eq!(pair.client.outcome(), ClientOutcome::Pending);
    pair.tls_complete();
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    pair.check(1);
    assert!(matches!(pair.client.outcome(), ClientOutcome::Verified(_)));
}

#[test]
fn a_server_that_stays_busy_is_refused_in_the_end() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.tls_complete();
    for _ in 0..5 {
        pair.deliver_to_server();
        pair.looked_up(&Lookup::Busy);
        pair.deliver_to_client();
    }
    assert_eq!(pair.failure(), SideFailure::Rejected(RejectCode::Busy));
    assert!(!pair.failure().allows_fallback());
}

#[test]
fn reflected_and_swapped_frames_do_not_verify() {
    let mut pair = Pair::new();
    let sent = pair.deliver_to_server();
    pair.client.handle_frame(&sent[0], [3; 32]);
    assert_eq!(
        pair.failure(),
        SideFailure::Misbehaved(SideMisbehaved::ClientFrameFromServer)
    );

    // The client's own value under the server's name: the role labels tell them apart.
    let mut pair = Pair::new();
    let opened = pair.deliver_to_server();
    let FrameBody::Open { nonce_c, bindings } = opened[0].body else {
        panic!("expected an Open");
    };
    let (nonce_s, binding) = ([4; 32], Binding::Hello);
    let context = SideContext::new(&association(), &nonce_c, bindings, &nonce_s, binding);
    let values = SideSecret::from_hello(&HelloHash([1; 32])).values(&context);
    let reflected = Frame {
        association: association(),
        body: FrameBody::Proof {
            nonce_s,
            binding,
            value: values.client,
        },
    };
    pair.client.handle_frame(&reflected, [5; 32]);
    pair.tls_complete();
    pair.check(1);
    let wrong = SideFailure::Interception(InterceptionReason::WrongValue);
    assert_eq!(pair.failure(), wrong);
}

#[test]
fn a_proof_for_another_open_does_not_verify() {
    let mut one = Pair::new();
    let mut other = Pair::new();
    other.nonces = 100;
    other.client = ClientVerifier::new(association(), Bindings::ALL);
    other.client.handle_link([200; 32]);
    one.deliver_to_server();
    other.deliver_to_server();
    other.found();
    let proof: Vec<_> = std::iter::from_fn(|| other.server.poll_transmit()).collect();
    one.client.handle_frame(&proof[0], [3; 32]);
    one.tls_complete();
    one.check(1);
    let wrong = SideFailure::Interception(InterceptionReason::WrongValue);
    assert_eq!(one.failure(), wrong);
}

#[test]
fn frames_about_other_handshakes_are_ignored() {
    let mut pair = Pair::new();
    let other = Frame {
        association: Association([0; 16]),
        body: FrameBody::Reject {
            code: RejectCode::WrongValue,
        },
    };
    pair.client.handle_frame(&other, [3; 32]);
    assert_eq!(pair.client.outcome(), ClientOutcome::Pending);
}

#[test]
fn a_binding_that_was_not_offered_is_refused() {
    let mut pair = Pair::offering(Binding::Exporter.into());
    pair.deliver_to_server();
    pair.found(); // hello only
    let frames = pair.deliver_to_client();
    assert!(matches!(
        frames[..],
        [Frame {
            body: FrameBody::Reject {
                code: RejectCode::NoCommonBinding
            },
            ..
        }]
    ));
    assert_eq!(
        pair.failure(),
        SideFailure::Rejected(RejectCode::NoCommonBinding)
    );

    let mut pair = Pair::offering(Binding::Exporter.into());
    let proof = Frame {
        association: association(),
        body: FrameBody::Proof {
            nonce_s: [1; 32],
            binding: Binding::Hello,
            value: Value([0; 32]),
        },
    };
    pair.client.handle_frame(&proof, [3; 32]);
    assert_eq!(
        pair.failure(),
        SideFailure::Misbehaved(SideMisbehaved::BindingNotOffered)
    );
}

#[test]
fn the_exporter_is_chosen_where_both_have_it() {
    let secret = SideSecret::new([5; 32]);
    let mut pair = Pair::new();
    pair.keys = HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(secret.clone()),
        ..SideSecrets::from_hello(&HelloHash([1; 32]))
    });
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    pair.tls_complete();
    let check = pair.client.poll_check().expect("a check");
    assert_eq!(check.binding, Binding::Exporter);
    pair.client.handle_values(&secret.values(&check.context));
    assert!(matches!(pair.client.outcome(), ClientOutcome::Verified(_)));
}

#[test]
fn a_connection_is_asked_once() {
    let mut pair = Pair::new();
    assert!(pair.client.awaits_proof());
    assert!(!pair.client.wants_connection());
    pair.client.handle_link([9; 32]);
    assert_eq!(pair.deliver_to_server().len(), 1, "one Open");
    pair.found();
    pair.deliver_to_client();
    assert!(!pair.client.awaits_proof());
    pair.tls_complete();
    assert!(pair.client.poll_check().is_some());
    assert_eq!(pair.client.poll_check(), None);
}

#[test]
fn an_end_without_values_for_the_chosen_binding_says_so() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    pair.tls_complete();
    assert!(pair.client.poll_check().is_some());
    pair.client.handle_no_values();
    let code = RejectCode::NoCommonBinding;
    assert_eq!(pair.failure(), SideFailure::Rejected(code));
    let sent = pair.deliver_to_server();
    assert!(
        matches!(sent[..], [Frame { body: FrameBody::Reject { code: sent }, .. }] if sent == code)
    );
    assert_eq!(pair.server.exchanges(), 0);
}

#[test]
fn after_the_proof_a_second_one_is_misbehaviour_and_busy_is_final() {
    for busy in [false, true] {
        let mut pair = Pair::new();
        pair.deliver_to_server();
        pair.found();
        let proof = pair.deliver_to_client();
        let mut frame = proof[0];
        if busy {
            let code = RejectCode::Busy;
            frame.body = FrameBody::Reject { code };
        }
        pair.client.handle_frame(&frame, [9; 32]);
        let expected = match busy {
            false => SideFailure::Misbehaved(SideMisbehaved::SecondProof),
            true => SideFailure::Rejected(RejectCode::Busy),
        };
        assert_eq!(pair.failure(), expected);
    }
}

#[test]
fn a_proof_without_a_live_open_is_misbehaviour() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.looked_up(&Lookup::Busy);
    pair.deliver_to_client();
    let proof = Frame {
        association: association(),
        body: FrameBody::Proof {
            nonce_s: [1; 32],
            binding: Binding::Hello,
            value: Value([0; 32]),
        },
    };
    pair.client.handle_frame(&proof, [3; 32]);
    let misbehaved = SideFailure::Misbehaved(SideMisbehaved::ProofWithoutOpen);
    assert_eq!(pair.failure(), misbehaved);
}
