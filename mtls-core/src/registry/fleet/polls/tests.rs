use std::sync::Arc;

use super::*;
use crate::proto::server::{HandshakeKeys, RegistrationId};

const A: MachineId = MachineId(1);
const B: MachineId = MachineId(2);

fn poll(complete: bool) -> Poll {
    Poll::new([A, B], complete)
}

/// Two machines that hold nothing are enough for *unknown*.
fn both_nothing(complete: bool, full: bool) -> LookupReply {
    let mut poll = poll(complete);
    poll.handle_nothing(A, full);
    assert!(!poll.is_over());
    poll.handle_nothing(B, false);
    assert!(poll.is_over());
    poll.conclude()
}

#[test]
fn unknown_needs_the_word_of_every_machine() {
    let mut poll = poll(true);
    poll.handle_nothing(A, false);
    poll.handle_nothing(A, false);
    assert!(!poll.is_over());
    assert!(matches!(poll.clone().conclude(), LookupReply::Unavailable));
    poll.handle_nothing(B, false);
    assert!(poll.is_over());
    assert!(matches!(poll.conclude(), LookupReply::Unknown));
}

#[test]
fn unknown_needs_a_complete_list() {
    assert!(matches!(both_nothing(true, false), LookupReply::Unknown));
    assert!(matches!(
        both_nothing(false, false),
        LookupReply::Unavailable
    ));
    assert!(matches!(
        both_nothing(false, true),
        LookupReply::Unavailable
    ));
}

#[test]
fn a_machine_that_was_full_may_have_turned_the_handshake_away() {
    assert!(matches!(both_nothing(true, true), LookupReply::Busy));
}

#[test]
fn one_machine_that_has_it_is_enough() {
    let mut poll = poll(false);
    let keys = Arc::new(HandshakeKeys::Older);
    poll.handle_found(Found::new(RegistrationId(1), keys));
    assert!(poll.is_over());
    assert!(matches!(poll.conclude(), LookupReply::Found(_)));
}
