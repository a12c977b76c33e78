//! Every sequence of results ends within the bound, and verifies only what was resumed.

use super::*;

/// The first byte is the setup, and each other one a result or the deadline.
pub(crate) fn fuzz(data: &[u8]) {
    let (&setup, results) = data.split_first().unwrap_or((&0, &[]));
    let mut results = results.iter().copied();
    let mut procedure = Procedure::new(Setup {
        ticket: setup & 1 != 0,
        can_reverse: setup & 2 != 0,
        withholds_certificate: setup & 4 != 0,
        was_connected: setup & 8 != 0,
    });
    let mut attempts = 0;
    let mut resumed = Vec::new();
    let outcome = loop {
        let attempt = match procedure.next() {
            Step::Done(outcome) => break outcome,
            Step::Attempt(attempt) => attempt,
        };
        attempts += 1;
        assert!(
            attempts < usize::from(MAX_CONNECTIONS),
            "the primary connection counts"
        );
        let byte = results.next().unwrap_or(u8::MAX);
        if byte == u8::MAX {
            procedure.handle_deadline();
            continue;
        }
        let result = result_of(attempt, byte);
        if matches!(result, AttemptResult::Resumed { .. }) {
            resumed.push(attempt);
        }
        procedure.handle(attempt, result);
    };
    match outcome {
        ResumptionOutcome::Verified(ResumptionDirection::Forward) => {
            assert_eq!(resumed.last(), Some(&Attempt::Forward));
        }
        ResumptionOutcome::Verified(ResumptionDirection::Reversed) => {
            assert_eq!(resumed.last(), Some(&Attempt::Reversed));
        }
        ResumptionOutcome::Verified(ResumptionDirection::Prefetched) => {
            panic!("a ticket that was fetched in advance takes no procedure");
        }
        ResumptionOutcome::Failed(_) => {
            assert!(!resumed.contains(&Attempt::Forward));
            assert!(!resumed.contains(&Attempt::Reversed));
        }
    }
    assert_eq!(procedure.next(), Step::Done(outcome), "an outcome is final");
}

/// A result that this attempt can have: only a ticket that was offered is resumed.
fn result_of(attempt: Attempt, byte: u8) -> AttemptResult {
    let tickets = byte >> 3;
    match (byte & 7, attempt) {
        (0, _) => AttemptResult::Unreachable,
        (1, _) => AttemptResult::Failed,
        (2 | 3, Attempt::Full) | (4 | 5, _) => AttemptResult::Full {
            same_key: byte & 1 != 0,
            // Some servers send more than anyone uses.
            tickets: tickets.saturating_mul(9),
        },
        (2, _) => AttemptResult::Disputed,
        (3, _) => AttemptResult::NotResumed,
        (_, Attempt::Full) => AttemptResult::Failed,
        (_, _) => AttemptResult::Resumed { tickets },
    }
}
