use std::sync::Arc;

use super::*;
use crate::proto::server::{HandshakeKeys, RegistrationId};

const A: MachineId = MachineId(1);
const B: MachineId = MachineId(2);

fn poll(complete: Completeness) -> Poll {
    Poll::new([A, B], complete, false)
}

/// Two machines that hold nothing are enough for *unknown*.
fn both_nothing(complete: Completeness, young: bool, full: bool) -> LookupReply {
    let mut poll = poll(complete);
    poll.handle_nothing(A, young, full);
    assert!(!poll.is_over());
    poll.handle_nothing(B, false, false);
    assert!(poll.is_over());
    poll.conclude()
}

#[test]
fn unknown_needs_the_word_of_every_machine() {
    let mut poll = poll(Completeness::ByEngine);
    poll.handle_nothing(A, false, false);
    poll.handle_nothing(A, false, false);
    assert!(!poll.is_over());
    assert!(matches!(poll.clone().conclude(), LookupReply::Unavailable));
    poll.handle_nothing(B, false, false);
    assert!(poll.is_over());
    assert!(matches!(poll.conclude(), LookupReply::Unknown));
}

#[test]
fn unknown_needs_a_complete_list() {
    let reply = |complete| both_nothing(complete, false, false);
    assert!(matches!(
        reply(Completeness::ByEngine),
        LookupReply::Unknown
    ));
    assert!(matches!(
        reply(Completeness::ByMemory),
        LookupReply::Unknown
    ));
    assert!(matches!(
        reply(Completeness::Incomplete),
        LookupReply::Unavailable
    ));
}

#[test]
fn a_machine_that_may_have_forgotten_proves_nothing_where_the_engine_forgot_too() {
    let reply = |complete| both_nothing(complete, true, false);
    assert!(matches!(
        reply(Completeness::ByEngine),
        LookupReply::Unknown
    ));
    assert!(matches!(
        reply(Completeness::ByMemory),
        LookupReply::Unavailable
    ));
    let mut alone = Poll::new([], Completeness::ByMemory, true);
    assert!(matches!(alone.clone().conclude(), LookupReply::Unavailable));
    alone.complete = Completeness::ByEngine;
    assert!(matches!(alone.conclude(), LookupReply::Unknown));
}

#[test]
fn a_machine_that_was_full_may_have_turned_the_handshake_away() {
    let reply = both_nothing(Completeness::ByEngine, false, true);
    assert!(matches!(reply, LookupReply::Busy));
}

#[test]
fn one_machine_that_has_it_is_enough() {
    let mut poll = poll(Completeness::Incomplete);
    let keys = Arc::new(HandshakeKeys::Older);
    poll.handle_found(Found::new(RegistrationId(1), keys));
    assert!(poll.is_over());
    assert!(matches!(poll.conclude(), LookupReply::Found(_)));
}
