//! How a verification ends otherwise: older TLS, deadlines, connections that die.

use super::*;

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

/// Found by the model checker: a dead connection of the pool must not use up the reopens that the
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
fn a_proof_for_an_older_handshake_is_a_downgrade_whichever_comes_first() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.found();
    pair.deliver_to_client();
    pair.client.handle_tls_complete(TlsVersion::Older, [8; 32]);
    let downgrade = SideFailure::Interception(InterceptionReason::Downgrade);
    assert_eq!(pair.failure(), downgrade);
}

#[test]
fn reused_connections_that_died_are_replaced_four_times() {
    let mut pair = Pair::new();
    for _ in 0..4 {
        pair.client.handle_disconnected(true);
        assert!(pair.client.wants_connection());
        let nonce = pair.nonce();
        pair.client.handle_link(nonce);
        assert!(!pair.client.wants_connection());
    }
    pair.client.handle_disconnected(true);
    assert_eq!(pair.failure(), SideFailure::NoGreeting);
}

#[test]
fn a_verification_that_has_ended_wants_nothing_and_says_nothing() {
    let mut pair = Pair::new();
    pair.client.handle_disconnected(true);
    pair.client.handle_unreachable();
    while pair.client.poll_transmit().is_some() {}
    assert!(!pair.client.wants_connection());
    pair.client.handle_link([9; 32]);
    assert_eq!(pair.client.poll_transmit(), None);

    let reject = Frame {
        association: association(),
        body: FrameBody::Confirm {
            value: Value([0; 32]),
        },
    };
    pair.client.handle_frame(&reject, [9; 32]);
    assert_eq!(pair.client.poll_transmit(), None);
    assert_eq!(pair.failure(), SideFailure::Unreachable);
}

#[test]
fn garbage_is_misbehaviour_only_after_the_greeting() {
    for (peer, failure) in [
        (Peer::Connected, SideFailure::NoGreeting),
        (
            Peer::Greeted,
            SideFailure::Misbehaved(SideMisbehaved::InvalidFrame),
        ),
    ] {
        let mut pair = Pair::new();
        pair.client.handle_peer(peer);
        pair.client.handle_peer(Peer::Dialling);
        pair.client.handle_garbage();
        assert_eq!(pair.failure(), failure);
    }
}
