//! Side paths that were checked by resumption, alone and beside the side protocol.

use super::*;
use crate::verdict::resumption::ResumptionFailure as Failure;
use crate::verdict::resumption::{ResumptionDirection, ResumptionProof};

/// Each kind of failure, the worst first; those on one line are equally bad.
const WORST_FIRST: [&[Reason]; 4] = [
    &[Reason::Side(WRONG_VALUE), Reason::Side(DOWNGRADE)],
    &[
        Reason::Resumption(Failure::Split),
        Reason::Resumption(Failure::OtherKey),
        Reason::Resumption(Failure::TicketDisputed),
    ],
    &[
        Reason::Resumption(Failure::Inconclusive),
        Reason::Side(SideFailure::Silent),
        Reason::Resumption(Failure::SideFailed),
    ],
    &[
        Reason::Resumption(Failure::Unsupported),
        Reason::Side(SideFailure::Unreachable),
        Reason::Resumption(Failure::SideUnreachable),
    ],
];

const SUSPICIONS: &[Reason] = WORST_FIRST[1];

fn side(outcome: SideOutcome) -> SideResult {
    SideResult {
        outcome,
        report: PathReport::unknown(PathRole::Side),
        dial_error: None,
        chain: vec![CertificateDer::from(b"shown on the side path".to_vec())],
        signature: None,
    }
}

fn resumed() -> SideResult {
    let proof = ResumptionProof::new(ResumptionDirection::Forward);
    side(SideOutcome::Resumed(proof))
}

fn failed(reason: Reason) -> SideResult {
    side(SideOutcome::Failed(reason))
}

fn failures() -> Vec<Failure> {
    let all = WORST_FIRST.concat();
    let failures = all.into_iter().filter_map(|reason| match reason {
        Reason::Resumption(failure) => Some(failure),
        _ => None,
    });
    failures.collect()
}

fn worst(sides: &[SideResult]) -> (Reason, Option<usize>) {
    let Evaluated { outcome, side } = evaluation(Policy::Require).evaluate(sides);
    match outcome {
        Outcome::Intercepted(reason) => (Reason::Side(SideFailure::Interception(reason)), side),
        Outcome::Unverified(reason) => (reason, side),
        other => panic!("accepted: {other:?}"),
    }
}

fn apply(policy: Policy, sides: &[SideResult]) -> Result<Allowed, Error> {
    let chain = [CertificateDer::from(b"shown on the primary path".to_vec())];
    let primary = PrimaryTls {
        report: TlsReport::default(),
        chain: &chain,
        signature: None,
    };
    let evaluation = evaluation(policy);
    evaluation.apply_policy(evaluation.evaluate(sides), &primary, sides)
}

#[test]
fn a_suspicion_outweighs_a_failure_and_a_failure_outweighs_what_allows_falling_back() {
    for (rank, worse) in WORST_FIRST.iter().enumerate() {
        for &worse in *worse {
            for &better in WORST_FIRST[rank + 1..].iter().copied().flatten() {
                assert_eq!(
                    worst(&[failed(worse), failed(better)]),
                    (worse, Some(0)),
                    "{better:?} second"
                );
                assert_eq!(
                    worst(&[failed(better), resumed(), failed(worse)]),
                    (worse, Some(2)),
                    "{better:?} first"
                );
            }
        }
    }
}

#[test]
fn of_equally_bad_failures_of_both_methods_the_first_counts() {
    for equal in WORST_FIRST {
        for (&first, &second) in equal.iter().zip(&equal[1..]) {
            assert_eq!(
                worst(&[failed(first), failed(second)]),
                (first, Some(0)),
                "{second:?} second"
            );
            assert_eq!(
                worst(&[failed(second), failed(first)]),
                (second, Some(0)),
                "{first:?} second"
            );
        }
    }
}

#[test]
fn only_the_failures_that_allow_it_let_prefer_fall_back() {
    for failure in failures() {
        let sides = [failed(Reason::Resumption(failure))];
        let falls_back = matches!(failure, Failure::Unsupported | Failure::SideUnreachable);
        assert!(apply(Policy::Require, &sides).is_err(), "{failure:?}");
        assert_eq!(
            apply(Policy::Prefer, &sides).is_ok(),
            falls_back,
            "{failure:?}"
        );
        assert!(apply(Policy::Observe, &sides).is_ok(), "{failure:?}");
    }
}

#[test]
fn a_suspicion_keeps_the_chains_of_both_paths_whatever_the_policy() {
    for failure in failures() {
        let reason = Reason::Resumption(failure);
        for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
            let evidence = match apply(policy, &[failed(reason)]) {
                Ok(allowed) => allowed.evidence,
                Err(Error::Unverified(refused)) => refused.evidence,
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(evidence.is_some(), SUSPICIONS.contains(&reason), "{reason}");
            if let Some(evidence) = evidence {
                assert_eq!(evidence.reason, EvidenceReason::Resumption(failure));
                assert_eq!((evidence.chain.len(), evidence.side_chain.len()), (1, 1));
                assert_ne!(evidence.chain, evidence.side_chain);
            }
        }
    }
}

#[test]
fn a_verdict_names_the_weakest_method_of_its_side_paths() {
    let proven = || results(&[verified()]).remove(0);
    let cases = [
        (vec![proven()], Method::Side),
        (vec![resumed()], Method::Resumption),
        (vec![proven(), resumed()], Method::Resumption),
        (
            vec![proven(), failed(Reason::Resumption(Failure::Split))],
            Method::Resumption,
        ),
        (
            vec![proven(), failed(Reason::Side(SideFailure::Silent))],
            Method::Side,
        ),
    ];
    for (sides, method) in cases {
        let allowed = apply(Policy::Observe, &sides).expect("observe accepts it");
        assert_eq!(allowed.verdict.method, method);
        if let Some(verified) = allowed.verdict.verified() {
            assert_eq!(verified.method(), method);
        }
    }
}

#[test]
fn a_result_of_either_method_is_shown_with_its_path() {
    let sides = [resumed(), failed(Reason::Resumption(Failure::Split))];
    let allowed = apply(Policy::Observe, &sides).expect("observe accepts it");
    let shown: Vec<_> = allowed
        .verdict
        .paths
        .iter()
        .map(|path| path.result)
        .collect();
    assert_eq!(shown, [None, Some("verified"), Some("split")]);
}
