//! Every row of the table, and every sequence of results.

use super::*;

const SETUP: Setup = Setup {
    ticket: true,
    can_reverse: true,
    withholds_certificate: false,
    was_connected: false,
};
const NO_TICKET: Setup = Setup {
    ticket: false,
    ..SETUP
};
const RESUMED: AttemptResult = AttemptResult::Resumed { tickets: 1 };
const FORWARD: ResumptionOutcome = ResumptionOutcome::Verified(ResumptionDirection::Forward);
const REVERSED: ResumptionOutcome = ResumptionOutcome::Verified(ResumptionDirection::Reversed);

fn full(same_key: bool, tickets: u8) -> AttemptResult {
    AttemptResult::Full { same_key, tickets }
}

fn failed(failure: ResumptionFailure) -> ResumptionOutcome {
    ResumptionOutcome::Failed(failure)
}

/// Runs the procedure with these results, and returns the attempts and the outcome.
fn run(
    setup: Setup,
    mut result: impl FnMut(usize, Attempt) -> AttemptResult,
) -> (Vec<Attempt>, ResumptionOutcome) {
    let mut procedure = Procedure::new(setup);
    let mut attempts = Vec::new();
    loop {
        match procedure.next() {
            Step::Done(outcome) => return (attempts, outcome),
            Step::Attempt(attempt) => {
                let result = result(attempts.len(), attempt);
                attempts.push(attempt);
                procedure.handle(attempt, result);
            }
        }
    }
}

/// The same for a server of the side path that answers each kind of attempt in one way.
fn by_kind(
    setup: Setup,
    forward: AttemptResult,
    full: AttemptResult,
    reversed: AttemptResult,
    control: AttemptResult,
) -> (Vec<Attempt>, ResumptionOutcome) {
    run(setup, |_, attempt| match attempt {
        Attempt::Forward => forward,
        Attempt::Full => full,
        Attempt::Reversed => reversed,
        Attempt::Control => control,
    })
}

#[test]
fn a_ticket_of_the_primary_path_that_resumes_over_the_side_path_verifies_at_once() {
    let (attempts, outcome) = run(SETUP, |_, _| RESUMED);
    assert_eq!((attempts, outcome), (vec![Attempt::Forward], FORWARD));
}

#[test]
fn a_ticket_of_the_side_path_that_resumes_over_the_primary_path_verifies() {
    for setup in [SETUP, NO_TICKET] {
        let first = full(false, 2);
        let (attempts, outcome) = by_kind(setup, first, first, RESUMED, full(false, 2));
        assert_eq!(outcome, REVERSED);
        assert_eq!(attempts.len(), 2);
    }
}

#[test]
fn a_side_path_that_always_resumes_its_own_sessions_and_none_of_the_primary_path_is_split() {
    for (setup, same_key) in [(SETUP, true), (SETUP, false), (NO_TICKET, true)] {
        let first = full(same_key, 2);
        let (attempts, outcome) = by_kind(
            setup,
            first,
            first,
            first,
            AttemptResult::Resumed { tickets: 2 },
        );
        assert_eq!(outcome, failed(ResumptionFailure::Split));
        let controls = attempts.iter().filter(|a| **a == Attempt::Control).count();
        assert_eq!(controls, 3);
    }
}

#[test]
fn a_side_path_that_resumes_its_own_sessions_sometimes_is_inconclusive() {
    let first = full(true, 2);
    let mut controls = 0;
    let (_, outcome) = run(SETUP, |_, attempt| {
        controls += usize::from(attempt == Attempt::Control);
        match (attempt, controls) {
            (Attempt::Control, 2) => RESUMED,
            _ => first,
        }
    });
    assert_eq!(outcome, failed(ResumptionFailure::Inconclusive));
}

#[test]
fn without_resumption_on_either_path_the_keys_decide() {
    for tickets in [0, 1, 2] {
        for (same_key, failure) in [
            (false, ResumptionFailure::OtherKey),
            (true, ResumptionFailure::Unsupported),
        ] {
            for setup in [SETUP, NO_TICKET] {
                let (_, outcome) = run(setup, |_, _| full(same_key, tickets));
                assert_eq!(outcome, failed(failure), "{tickets} tickets");
            }
        }
    }
}

#[test]
fn the_first_key_of_the_side_path_counts() {
    let mut first = true;
    let (_, outcome) = run(NO_TICKET, |_, _| full(std::mem::take(&mut first), 2));
    assert_eq!(outcome, failed(ResumptionFailure::Unsupported));
}

#[test]
fn a_side_path_that_cannot_be_dialled_is_unreachable_and_a_later_failure_is_not() {
    for setup in [SETUP, NO_TICKET] {
        let (attempts, outcome) = run(setup, |_, _| AttemptResult::Unreachable);
        assert_eq!(outcome, failed(ResumptionFailure::SideUnreachable));
        assert_eq!(attempts.len(), 1);
    }
    let (_, outcome) = by_kind(
        SETUP,
        full(true, 2),
        full(true, 2),
        full(true, 2),
        AttemptResult::Unreachable,
    );
    assert_eq!(outcome, failed(ResumptionFailure::SideFailed));
}

#[test]
fn a_disputed_ticket_ends_the_procedure_after_one_handshake_for_evidence() {
    let (attempts, outcome) = by_kind(
        SETUP,
        AttemptResult::Disputed,
        full(false, 2),
        RESUMED,
        RESUMED,
    );
    assert_eq!(outcome, failed(ResumptionFailure::TicketDisputed));
    assert_eq!(attempts, [Attempt::Forward, Attempt::Full]);
}

#[test]
fn a_ticket_that_is_disputed_later_ends_the_procedure() {
    for disputed in [Attempt::Reversed, Attempt::Control] {
        let (attempts, outcome) = run(SETUP, |_, attempt| match attempt == disputed {
            true => AttemptResult::Disputed,
            false => full(true, 2),
        });
        assert_eq!(outcome, failed(ResumptionFailure::TicketDisputed));
        assert_eq!(attempts.last(), Some(&disputed));
    }
}

#[test]
fn any_other_failure_of_tls_on_the_side_path_ends_the_procedure() {
    for failing in [Attempt::Forward, Attempt::Full, Attempt::Control] {
        let setup = Setup {
            ticket: failing == Attempt::Forward,
            ..SETUP
        };
        let (_, outcome) = run(setup, |_, attempt| match attempt == failing {
            true => AttemptResult::Failed,
            false => full(true, 2),
        });
        assert_eq!(outcome, failed(ResumptionFailure::SideFailed));
    }
}

#[test]
fn a_server_that_closes_on_a_ticket_is_tried_without_one() {
    let (attempts, outcome) = by_kind(
        SETUP,
        AttemptResult::NotResumed,
        full(false, 2),
        AttemptResult::NotResumed,
        RESUMED,
    );
    assert_eq!(attempts[..2], [Attempt::Forward, Attempt::Full]);
    assert_eq!(outcome, failed(ResumptionFailure::Split));
}

#[test]
fn a_failure_on_the_primary_path_decides_nothing() {
    for result in [
        AttemptResult::Failed,
        AttemptResult::Unreachable,
        AttemptResult::NotResumed,
    ] {
        let first = full(true, 2);
        let (_, outcome) = by_kind(SETUP, first, first, result, first);
        assert_eq!(outcome, failed(ResumptionFailure::Unsupported));
    }
}

#[test]
fn a_client_with_a_certificate_fetches_tickets_in_a_handshake_without_it() {
    let setup = Setup {
        withholds_certificate: true,
        can_reverse: false,
        ..SETUP
    };
    let (attempts, outcome) = by_kind(setup, full(true, 0), full(true, 2), full(true, 2), RESUMED);
    assert_eq!(attempts[..2], [Attempt::Forward, Attempt::Full]);
    assert!(!attempts.contains(&Attempt::Reversed));
    assert_eq!(outcome, failed(ResumptionFailure::Split));
}

#[test]
fn a_side_path_that_was_connected_before_is_never_unreachable() {
    for setup in [SETUP, NO_TICKET] {
        let setup = Setup {
            was_connected: true,
            ..setup
        };
        let (attempts, outcome) = run(setup, |_, _| AttemptResult::Unreachable);
        assert_eq!(attempts.len(), 1);
        assert_eq!(outcome, failed(ResumptionFailure::SideFailed));
    }
}

#[test]
fn the_deadline_never_ends_in_a_fallback() {
    for setup in [SETUP, NO_TICKET] {
        for same_key in [true, false] {
            for after in 0..6 {
                let mut procedure = Procedure::new(setup);
                for _ in 0..after {
                    let Step::Attempt(attempt) = procedure.next() else {
                        continue;
                    };
                    procedure.handle(attempt, full(same_key, 2));
                }
                // Otherwise the procedure has come to its end before.
                let Step::Attempt(_) = procedure.next() else {
                    panic!("six attempts are not all");
                };
                procedure.handle_deadline();
                let Step::Done(ResumptionOutcome::Failed(failure)) = procedure.next() else {
                    panic!("an end");
                };
                assert!(!failure.allows_fallback(), "{failure:?} after {after}");
            }
        }
    }
}

/// The contents of an explored sequence.
#[derive(Clone, Copy, Default)]
struct Seen {
    connections: u8,
    resumed: Option<Attempt>,
    controls_resumed: u8,
    first_side_key: Option<bool>,
    dialled_side: bool,
}

fn explore(procedure: &Procedure, seen: Seen, ended: &mut usize) {
    let mut procedure = procedure.clone();
    match procedure.next() {
        Step::Done(outcome) => {
            *ended += 1;
            check(outcome, seen);
        }
        Step::Attempt(attempt) => {
            for result in [
                AttemptResult::Resumed { tickets: 0 },
                RESUMED,
                full(true, 0),
                full(true, 1),
                full(false, 2),
                AttemptResult::Disputed,
                AttemptResult::NotResumed,
                AttemptResult::Failed,
                AttemptResult::Unreachable,
            ] {
                // A handshake without a ticket cannot be any of these.
                let without_ticket = attempt == Attempt::Full;
                let needs_ticket = matches!(
                    result,
                    AttemptResult::Resumed { .. }
                        | AttemptResult::Disputed
                        | AttemptResult::NotResumed
                );
                if without_ticket && needs_ticket {
                    continue;
                }
                let mut after = procedure.clone();
                after.handle(attempt, result);
                explore(&after, seen.with(attempt, result), ended);
            }
        }
    }
}

impl Seen {
    fn with(mut self, attempt: Attempt, result: AttemptResult) -> Self {
        self.connections += 1;
        let on_side = attempt != Attempt::Reversed;
        self.dialled_side |= on_side && result != AttemptResult::Unreachable;
        match (attempt, result) {
            (Attempt::Control, AttemptResult::Resumed { .. }) => self.controls_resumed += 1,
            (attempt, AttemptResult::Resumed { .. }) => self.resumed = Some(attempt),
            (Attempt::Forward | Attempt::Full, AttemptResult::Full { same_key, .. }) => {
                self.first_side_key.get_or_insert(same_key);
            }
            _ => {}
        }
        self
    }
}

fn check(outcome: ResumptionOutcome, seen: Seen) {
    assert!(seen.connections < MAX_CONNECTIONS, "the primary one counts");
    assert_eq!(outcome == FORWARD, seen.resumed == Some(Attempt::Forward));
    assert_eq!(outcome == REVERSED, seen.resumed == Some(Attempt::Reversed));
    match outcome {
        ResumptionOutcome::Failed(ResumptionFailure::Unsupported) => {
            assert_eq!(seen.first_side_key, Some(true));
            assert_eq!(seen.controls_resumed, 0);
        }
        ResumptionOutcome::Failed(ResumptionFailure::SideUnreachable) => {
            assert!(!seen.dialled_side);
        }
        ResumptionOutcome::Failed(ResumptionFailure::OtherKey) => {
            assert_eq!(seen.first_side_key, Some(false));
        }
        ResumptionOutcome::Failed(ResumptionFailure::Split) => {
            assert_ne!(seen.controls_resumed, 0);
        }
        _ => {}
    }
}

#[test]
fn no_sequence_of_results_verifies_without_a_resumption_or_falls_back_against_the_rules() {
    let mut ended = 0;
    for ticket in [false, true] {
        for can_reverse in [false, true] {
            for withholds_certificate in [false, true] {
                for was_connected in [false, true] {
                    let procedure = Procedure::new(Setup {
                        ticket,
                        can_reverse,
                        withholds_certificate,
                        was_connected,
                    });
                    let seen = Seen {
                        dialled_side: was_connected,
                        ..Seen::default()
                    };
                    explore(&procedure, seen, &mut ended);
                }
            }
        }
    }
    assert!(ended > 1000, "{ended} sequences");
}
