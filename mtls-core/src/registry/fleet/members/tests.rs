use super::*;

const LIFE: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
const ME: MachineId = MachineId(1);
const OTHER: MachineId = MachineId(2);

fn members() -> (Members, Instant) {
    let times = MemberTimes {
        life: LIFE,
        lease: LEASE,
    };
    (Members::new(ME, times), Instant::now())
}

fn beat(incarnation: u64, count: u64) -> Beat {
    Beat { incarnation, count }
}

fn listed(others: &[(MachineId, Beat)]) -> Membership {
    Membership {
        members: others.to_vec(),
        ..Membership::default()
    }
}

/// Heartbeats each second, from `from` until `until`.
fn watch(members: &mut Members, from: Instant, seconds: u32, list: &Membership) -> Instant {
    for second in 0..=seconds {
        members.handle_heartbeat(beat(1, 1), list, from + SECOND * second);
    }
    from + SECOND * seconds
}

#[test]
fn a_machine_completes_no_handshake_until_the_others_can_know_it() {
    let (mut members, start) = members();
    assert!(!members.holds_lease(start));
    let now = watch(&mut members, start, 4, &listed(&[]));
    assert!(!members.holds_lease(now), "less than a lease");
    let now = watch(&mut members, now, 1, &listed(&[]));
    assert!(members.holds_lease(now));
}

#[test]
fn a_lease_ends_without_a_heartbeat_and_long_before_the_others_stop_asking() {
    let (mut members, start) = members();
    let now = watch(&mut members, start, 5, &listed(&[]));
    assert!(members.holds_lease(now + LEASE - SECOND));
    assert!(!members.holds_lease(now + LEASE));
    // Another machine that heard of it at the same time still asks it.
    let (mut other, _) = super::tests::members();
    other.handle_message(OTHER, now);
    assert_eq!(other.others(now + LIFE - SECOND).count(), 1);
    assert_eq!(other.others(now + LIFE).count(), 0);
}

#[test]
fn after_a_gap_a_machine_joins_anew() {
    let (mut members, start) = members();
    let now = watch(&mut members, start, 5, &listed(&[]));
    let back = now + LEASE;
    members.handle_heartbeat(beat(1, 9), &listed(&[]), back);
    assert!(!members.holds_lease(back));
}

#[test]
fn a_machine_that_is_gone_is_asked_until_its_life_is_over() {
    let (mut members, start) = members();
    let list = listed(&[(OTHER, beat(2, 5))]);
    let now = watch(&mut members, start, 29, &list);
    assert_eq!(members.others(now).collect::<Vec<_>>(), [OTHER]);
    let now = watch(&mut members, now, 1, &list);
    assert_eq!(
        members.others(now).count(),
        0,
        "its beat did not change for a life"
    );
}

#[test]
fn a_machine_whose_beat_changes_is_asked() {
    let (mut members, start) = members();
    for second in 0..60 {
        let list = listed(&[(OTHER, beat(2, second.into()))]);
        let now = start + SECOND * second;
        members.handle_heartbeat(beat(1, 1), &list, now);
        assert_eq!(members.others(now).count(), 1);
    }
}

#[test]
fn a_machine_that_an_empty_engine_does_not_list_is_remembered() {
    let (mut members, start) = members();
    members.handle_heartbeat(beat(1, 1), &listed(&[(OTHER, beat(2, 5))]), start);
    let now = watch(&mut members, start + SECOND, 10, &listed(&[]));
    assert_eq!(members.others(now).collect::<Vec<_>>(), [OTHER]);
}

#[test]
fn the_list_of_an_engine_that_has_forgotten_nothing_for_a_life_is_complete() {
    let (members, _) = members();
    for (memory, complete) in [(LIFE - SECOND, false), (LIFE, true)] {
        let list = Membership {
            memory,
            ..Membership::default()
        };
        assert_eq!(members.is_complete(&list), complete);
    }
}

#[test]
fn a_machine_number_in_use_twice_ends_the_lease() {
    let (mut members, start) = members();
    let mut list = listed(&[]);
    list.previous = Some(beat(77, 3));
    members.handle_heartbeat(beat(1, 1), &list, start);
    assert!(!members.conflict(start), "an earlier process left it");
    let now = watch(&mut members, start, 5, &listed(&[]));
    assert!(members.holds_lease(now));
    members.handle_heartbeat(beat(1, 2), &list, now);
    assert!(members.conflict(now));
    assert!(!members.holds_lease(now));
}

#[test]
fn a_machine_that_leaves_is_not_asked_but_its_next_process_is() {
    let (mut members, start) = members();
    members.handle_heartbeat(beat(1, 1), &listed(&[(OTHER, beat(3, 5))]), start);
    members.handle_left(OTHER, 2);
    assert_eq!(
        members.others(start).count(),
        1,
        "an earlier process of it left"
    );
    members.handle_left(OTHER, 3);
    assert_eq!(members.others(start).count(), 0);
}

#[test]
fn a_beat_survives_its_bytes() {
    let beat = beat(u64::MAX - 1, 3);
    assert_eq!(Beat::from_bytes(beat.to_bytes()), beat);
}
