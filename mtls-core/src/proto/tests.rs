//! The two machines against one another, and each against a peer that misbehaves.

use std::time::{Duration, Instant};

use super::binding::{
    Association, Binding, Bindings, HelloHash, Nonce, SideContext, Value, Values,
};
use super::client::{
    Check, ClientOutcome, ClientVerifier, InterceptionReason, Peer, SideFailure, TlsVersion,
};
use super::error::{FrameError, SideMisbehaved};
use super::exporter::ExporterSecret;
use super::frame::{Frame, FrameBody, FrameReader, GREETING, RejectCode};
use super::server::{
    HandshakeKeys, Lookup, Patience, RegistrationId, ServerEvent, ServerLimits, ServerVerifier,
};

const REGISTRATION: RegistrationId = RegistrationId(7);

fn association() -> Association {
    Association::from_client_random(&[9; 32])
}

/// A client, a server, and a link between them that tests can cut.
struct Pair {
    client: ClientVerifier,
    server: ServerVerifier,
    keys: HandshakeKeys,
    now: Instant,
    nonces: u8,
}

fn hello_keys(byte: u8) -> HandshakeKeys {
    HandshakeKeys::Tls13 {
        exporter: None,
        hello: Some(HelloHash([byte; 32])),
    }
}

impl Pair {
    fn new() -> Self {
        Self::offering(Bindings::ALL)
    }

    fn offering(bindings: Bindings) -> Self {
        let mut pair = Self {
            client: ClientVerifier::new(association(), bindings),
            server: ServerVerifier::new(ServerLimits::default()),
            keys: hello_keys(1),
            now: Instant::now(),
            nonces: 0,
        };
        let nonce = pair.nonce();
        pair.client.handle_link(nonce);
        pair.client.set_deadline(pair.now + Duration::from_secs(3));
        pair
    }

    fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        [self.nonces; 32]
    }

    fn deliver_to_server(&mut self) -> Vec<Frame> {
        let frames: Vec<_> = std::iter::from_fn(|| self.client.poll_transmit()).collect();
        for frame in &frames {
            self.server.handle_frame(frame, self.now);
        }
        frames
    }

    fn deliver_to_client(&mut self) -> Vec<Frame> {
        let frames: Vec<_> = std::iter::from_fn(|| self.server.poll_transmit()).collect();
        self.client.handle_peer(Peer::Greeted);
        for frame in &frames {
            let nonce = self.nonce();
            self.client.handle_frame(frame, nonce);
        }
        frames
    }

    fn events(&mut self) -> Vec<ServerEvent> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    fn found(&mut self) {
        let keys = self.keys.clone();
        let found = Lookup::Found {
            registration: REGISTRATION,
            keys: &keys,
        };
        self.looked_up(&found);
    }

    fn looked_up(&mut self, lookup: &Lookup<'_>) {
        let nonce = self.nonce();
        self.server
            .handle_lookup(association(), lookup, nonce, self.now);
    }

    fn tls_complete(&mut self) {
        let nonce = self.nonce();
        self.client.handle_tls_complete(TlsVersion::Tls13, nonce);
    }

    /// Answers a check as the client whose hellos hash to `byte`.
    fn check(&mut self, byte: u8) -> Option<Check> {
        let check = self.client.poll_check()?;
        assert_eq!(check.binding, Binding::Hello);
        let values = Values::from_hello(&HelloHash([byte; 32]), &check.context);
        self.client.handle_values(&values);
        Some(check)
    }

    fn failure(&self) -> SideFailure {
        match self.client.outcome() {
            ClientOutcome::Failed(failure) => failure,
            other => panic!("expected a failure, got {other:?}"),
        }
    }
}

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
    let patience: Vec<_> = pair
        .events()
        .into_iter()
        .map(|event| match event {
            ServerEvent::Lookup { patience, .. } => patience,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(patience, [Patience::UntilFlushed, Patience::AtOnce]);
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
    assert!(pair.events().contains(&ServerEvent::Forget(association())));
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
    let values = Values::from_hello(&HelloHash([1; 32]), &context);
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
    let secret = ExporterSecret::new(&[5; 32]).expect("a secret");
    let mut pair = Pair::new();
    pair.keys = HandshakeKeys::Tls13 {
        exporter: Some(secret.clone()),
        hello: Some(HelloHash([1; 32])),
    };
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    pair.tls_complete();
    let check = pair.client.poll_check().expect("a check");
    assert_eq!(check.binding, Binding::Exporter);
    pair.client
        .handle_values(&Values::from_exporter(&secret, &check.context));
    assert!(matches!(pair.client.outcome(), ClientOutcome::Verified(_)));
}

#[test]
fn older_tls_at_both_ends_is_told_from_a_downgrade() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.client.handle_tls_complete(TlsVersion::Older, [8; 32]);
    pair.deliver_to_server();
    pair.keys = HandshakeKeys::Older;
    pair.found();
    pair.deliver_to_client();
    assert_eq!(pair.failure(), SideFailure::Rejected(RejectCode::NotTls13));

    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.client.handle_tls_complete(TlsVersion::Older, [8; 32]);
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    let downgrade = SideFailure::Interception(InterceptionReason::Downgrade);
    assert_eq!(pair.failure(), downgrade);
}

#[test]
fn an_older_handshake_at_the_server_alone_is_an_interception() {
    for tls_first in [true, false] {
        let mut pair = Pair::new();
        pair.keys = HandshakeKeys::Older;
        pair.deliver_to_server();
        if tls_first {
            pair.tls_complete();
        }
        pair.found();
        pair.deliver_to_client();
        if !tls_first {
            assert_eq!(pair.client.outcome(), ClientOutcome::Pending);
            pair.client.handle_disconnected(false);
            pair.tls_complete();
        }
        let downgrade = SideFailure::Interception(InterceptionReason::Downgrade);
        assert_eq!(pair.failure(), downgrade);
    }
}

#[test]
fn at_the_deadline_the_failure_says_how_far_it_came() {
    for (peer, failure, fallback) in [
        (Peer::Dialling, SideFailure::Unreachable, true),
        (Peer::Connected, SideFailure::NoGreeting, true),
        (Peer::Greeted, SideFailure::Silent, false),
    ] {
        let mut pair = Pair::new();
        pair.client.handle_peer(peer);
        let deadline = pair.client.poll_timeout().expect("a deadline");
        pair.client
            .handle_timeout(deadline - Duration::from_nanos(1));
        assert_eq!(pair.client.outcome(), ClientOutcome::Pending);
        pair.client.handle_timeout(deadline);
        assert_eq!(pair.failure(), failure);
        assert_eq!(failure.allows_fallback(), fallback);
        assert_eq!(pair.client.poll_timeout(), None);
    }
}

#[test]
fn a_reused_connection_that_died_is_replaced_and_a_fresh_one_is_not() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.client.handle_peer(Peer::Greeted);
    pair.client.handle_disconnected(true);
    assert!(pair.client.wants_connection());
    pair.server = ServerVerifier::new(ServerLimits::default());
    pair.client.handle_link([77; 32]);
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    pair.tls_complete();
    pair.check(1);
    assert!(matches!(pair.client.outcome(), ClientOutcome::Verified(_)));

    for (peer, failure) in [
        (Peer::Connected, SideFailure::NoGreeting),
        (Peer::Greeted, SideFailure::Closed),
    ] {
        let mut pair = Pair::new();
        pair.client.handle_peer(peer);
        pair.client.handle_disconnected(false);
        assert!(!pair.client.wants_connection());
        assert_eq!(pair.failure(), failure);
    }
}

/// Found by the model checker: a dead connection of the pool must not use up the patience that the
/// early waits before and after it take.
#[test]
fn early_waits_on_both_sides_of_a_connection_that_died_and_a_lost_race_are_survived() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.looked_up(&Lookup::Busy);
    pair.deliver_to_client();
    pair.client.handle_disconnected(true);
    assert!(pair.client.wants_connection());
    pair.server = ServerVerifier::new(ServerLimits::default());
    pair.client.handle_link([77; 32]);
    pair.deliver_to_server();
    pair.looked_up(&Lookup::Busy);
    pair.deliver_to_client();
    pair.tls_complete();
    // The Open is turned away before the Done that follows it is read.
    pair.deliver_to_server();
    pair.looked_up(&Lookup::Busy);
    pair.deliver_to_client();
    assert_eq!(pair.client.outcome(), ClientOutcome::Pending);
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    pair.check(1);
    assert!(matches!(pair.client.outcome(), ClientOutcome::Verified(_)));
}

#[test]
fn a_proof_whose_connection_died_is_not_enough() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    pair.client.handle_disconnected(false);
    pair.tls_complete();
    assert_eq!(pair.check(1), None);
    assert_eq!(pair.failure(), SideFailure::Closed);
}

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
    assert!(pair.events().contains(&ServerEvent::Forget(association())));
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

#[test]
fn every_frame_comes_back_from_its_bytes_however_they_are_cut() {
    let bodies = [
        FrameBody::Open {
            nonce_c: [1; 32],
            bindings: Bindings(0xff),
        },
        FrameBody::Proof {
            nonce_s: [2; 32],
            binding: Binding::Exporter,
            value: Value([3; 32]),
        },
        FrameBody::Confirm {
            value: Value([4; 32]),
        },
        FrameBody::Done,
        FrameBody::Reject {
            code: RejectCode::NotTls13,
        },
    ];
    let frames: Vec<_> = bodies
        .into_iter()
        .map(|body| Frame {
            association: association(),
            body,
        })
        .collect();
    let mut bytes = GREETING.to_vec();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    for cut in 0..=bytes.len() {
        let mut reader = FrameReader::new();
        let mut read = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            reader.read(part, |frame| read.push(frame)).expect("frames");
        }
        assert_eq!(read, frames);
        assert_eq!(reader.finish(), Ok(()));
    }
    let mut reader = FrameReader::new();
    let truncated = &bytes[..bytes.len() - 1];
    reader.read(truncated, |_| {}).expect("frames so far");
    assert_eq!(reader.finish(), Err(FrameError::Truncated { pending: 20 }));
}

#[test]
fn what_is_no_frame_is_refused_by_name() {
    let refused = |bytes: &[u8]| Frame::decode(bytes).expect_err("a refusal");
    assert_eq!(refused(&[0]), FrameError::UnknownType(0));
    assert_eq!(refused(&[6]), FrameError::UnknownType(6));
    assert_eq!(
        refused(&[1, 2, 1]),
        FrameError::TooLong { kind: 1, len: 513 }
    );
    assert_eq!(
        refused(&[4, 0, 1, 0]),
        FrameError::MissingField {
            kind: 4,
            field: "association"
        }
    );
    let mut done = vec![4, 0, 17];
    done.extend([0; 17]);
    assert_eq!(
        refused(&done),
        FrameError::TrailingBytes {
            kind: 4,
            trailing: 1
        }
    );
    let mut proof = vec![2, 0, 81];
    proof.extend([0; 81]);
    proof[3 + 16 + 32] = 3;
    assert_eq!(refused(&proof), FrameError::UnknownBinding(3));
    let mut reject = vec![5, 0, 18];
    reject.extend([0; 16]);
    reject.extend([0, 9]);
    assert_eq!(refused(&reject), FrameError::UnknownCode(9));
    let mut reader = FrameReader::new();
    assert_eq!(
        reader.read(b"HTTP", |_| {}),
        Err(FrameError::NotTheGreeting)
    );
}
