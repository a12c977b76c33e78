//! The client's evaluation of its side paths, without a network: the failure that counts, the outcomes
//! that each policy accepts, and the contents of a verdict.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::io::duplex;

mod known_hosts;
mod resumption;
mod tickets;

use super::*;
use crate::path::{DialError, DialFailure, Dialed, PathKind, Route, RouteInfo};
use crate::proto::binding::{Binding, Bindings, Value, Values};
use crate::proto::client::{
    ClientOutcome, ClientVerifier, InterceptionReason, Peer, SideProof, TlsVersion,
};
use crate::proto::error::SideMisbehaved;
use crate::proto::frame::{Frame, FrameBody, RejectCode};
use crate::side::client::connection::{SideConnection, SideLink};
use crate::side::client::verification::SidePath;
use crate::verdict::PathRole;

const WRONG_VALUE: SideFailure = SideFailure::Interception(InterceptionReason::WrongValue);
const DOWNGRADE: SideFailure = SideFailure::Interception(InterceptionReason::Downgrade);

/// Each kind of failure, the worst first; those on one line are equally bad.
const WORST_FIRST: [&[SideFailure]; 3] = [
    &[WRONG_VALUE, DOWNGRADE],
    &[
        SideFailure::Silent,
        SideFailure::Closed,
        SideFailure::Rejected(RejectCode::NoCommonBinding),
        SideFailure::Misbehaved(SideMisbehaved::InvalidFrame),
    ],
    &[SideFailure::Unreachable, SideFailure::NoGreeting],
];

fn association() -> Association {
    Association([3; 16])
}

fn evaluation(policy: Policy) -> ClientEvaluation<'static> {
    ClientEvaluation {
        known: Box::leak(Box::new(KnownHost::unknown(policy))),
        require_independent: false,
        target: &"example.org:443",
        association: Some(association()),
        report: PathReport::unknown(PathRole::Primary),
        times: Times::default(),
        inherits: None,
    }
}

fn verifier() -> ClientVerifier {
    let mut verifier = ClientVerifier::new(association(), Bindings::ALL);
    verifier.handle_link([1; 32]);
    verifier.handle_peer(Peer::Greeted);
    verifier
}

fn of(verifier: ClientVerifier) -> SidePath {
    SidePath {
        verifier,
        link: None,
        dial_error: None,
    }
}

fn results(sides: &[SidePath]) -> Vec<SideResult> {
    sides.iter().map(SideResult::from).collect()
}

fn about(body: FrameBody) -> Frame {
    let association = association();
    Frame { association, body }
}

/// A machine whose Proof is checked with a value of the server's own.
fn proven(server: u8) -> SidePath {
    let mut verifier = verifier();
    let proof = FrameBody::Proof {
        nonce_s: [2; 32],
        binding: Binding::Hello,
        value: Value([7; 32]),
    };
    verifier.handle_frame(&about(proof), [0; 32]);
    verifier.handle_tls_complete(TlsVersion::Tls13, [0; 32]);
    assert!(verifier.poll_check().is_some());
    let client = Value([8; 32]);
    let server = Value([server; 32]);
    verifier.handle_values(&Values { server, client });
    of(verifier)
}

fn verified() -> SidePath {
    proven(7)
}

fn pending() -> SidePath {
    of(verifier())
}

/// A side path that has failed in this way, by the events that lead there.
fn failed(failure: SideFailure) -> SidePath {
    let mut verifier = verifier();
    match failure {
        WRONG_VALUE => return proven(6),
        SideFailure::Interception(_) => {
            verifier.handle_tls_complete(TlsVersion::Tls13, [0; 32]);
            let code = RejectCode::NotTls13;
            verifier.handle_frame(&about(FrameBody::Reject { code }), [0; 32]);
        }
        SideFailure::Unreachable => verifier.handle_unreachable(),
        SideFailure::NoGreeting => {
            verifier = ClientVerifier::new(association(), Bindings::ALL);
            verifier.handle_garbage();
        }
        SideFailure::Silent => {
            let now = Instant::now();
            verifier.set_deadline(now);
            verifier.handle_timeout(now);
        }
        SideFailure::Closed => verifier.handle_disconnected(false),
        SideFailure::Misbehaved(_) => verifier.handle_garbage(),
        SideFailure::Rejected(code) => {
            verifier.handle_frame(&about(FrameBody::Reject { code }), [0; 32]);
        }
    }
    assert_eq!(verifier.outcome(), ClientOutcome::Failed(failure));
    of(verifier)
}

fn found(sides: &[SidePath]) -> (Outcome, Option<usize>) {
    let Evaluated { outcome, side } = evaluation(Policy::Require).evaluate(&results(sides));
    (outcome, side)
}

fn outcome_of(failure: SideFailure) -> Outcome {
    match failure {
        SideFailure::Interception(reason) => Outcome::Intercepted(reason),
        failure => Outcome::Unverified(Reason::Side(failure)),
    }
}

fn proofs(outcome: &Outcome) -> &[SideProof] {
    match outcome {
        Outcome::Verified(verified) => verified.sides(),
        other => panic!("expected a verified connection, got {other:?}"),
    }
}

#[test]
fn a_connection_is_verified_when_every_side_path_has_verified() {
    for count in 1..=3 {
        let sides: Vec<_> = (0..count).map(|_| verified()).collect();
        let (outcome, side) = found(&sides);
        assert_eq!(proofs(&outcome).len(), count);
        assert_eq!(side, None);
    }
}

#[test]
fn a_side_path_without_an_outcome_counts_as_silent() {
    for sides in [
        vec![],
        vec![pending()],
        vec![verified(), pending()],
        vec![pending(), verified()],
    ] {
        let (outcome, side) = found(&sides);
        assert_eq!(outcome, outcome_of(SideFailure::Silent));
        assert_eq!(side, None);
    }
}

#[test]
fn one_failure_among_verified_side_paths_is_the_outcome_and_names_its_path() {
    for failure in WORST_FIRST.concat() {
        for at in 0..3 {
            let side = |index| match index == at {
                true => failed(failure),
                false => verified(),
            };
            let sides: Vec<_> = (0..3).map(side).collect();
            assert_eq!(found(&sides), (outcome_of(failure), Some(at)));
        }
    }
}

#[test]
fn an_interception_outweighs_a_refusal_and_a_refusal_outweighs_what_allows_falling_back() {
    for (rank, worse) in WORST_FIRST.iter().enumerate() {
        for &worse in *worse {
            for &better in WORST_FIRST[rank + 1..].iter().copied().flatten() {
                let sides = [failed(worse), failed(better)];
                assert_eq!(
                    found(&sides),
                    (outcome_of(worse), Some(0)),
                    "{better:?} second"
                );
                let sides = [failed(better), verified(), failed(worse)];
                assert_eq!(
                    found(&sides),
                    (outcome_of(worse), Some(2)),
                    "{better:?} first"
                );
            }
        }
    }
}

#[test]
fn of_equally_bad_failures_the_first_counts() {
    for equal in WORST_FIRST {
        for (&first, &second) in equal.iter().zip(&equal[1..]) {
            let sides = [failed(first), failed(second)];
            assert_eq!(found(&sides), (outcome_of(first), Some(0)));
        }
    }
}

/// The decision of a policy about one outcome: `Ok` with the evidence's presence, or the error.
fn decided(policy: Policy, outcome: Outcome) -> Result<bool, Error> {
    let finding = Evaluated {
        outcome,
        side: Some(1),
    };
    let sides = [verified(), failed(SideFailure::Unreachable)];
    let decided =
        evaluation(policy).apply_policy(finding, &PrimaryTls::default(), &results(&sides))?;
    Ok(decided.evidence.is_some())
}

#[test]
fn every_policy_lets_a_verified_connection_pass() {
    for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
        let (outcome, _) = found(&[verified()]);
        assert!(matches!(decided(policy, outcome), Ok(false)));
    }
}

#[test]
fn only_observe_lets_an_interception_pass_and_keeps_its_evidence() {
    let outcome = || Outcome::Intercepted(InterceptionReason::Downgrade);
    for policy in [Policy::Require, Policy::Prefer] {
        let refused = decided(policy, outcome());
        let Err(Error::Interception(evidence)) = refused else {
            panic!("expected an interception, got {refused:?}");
        };
        let reason = EvidenceReason::Interception(InterceptionReason::Downgrade);
        assert_eq!(evidence.reason, reason);
        assert_eq!(evidence.target, "example.org:443");
        assert_eq!(evidence.association, association().to_string());
    }
    assert!(matches!(decided(Policy::Observe, outcome()), Ok(true)));
}

#[test]
fn the_policies_refuse_what_they_must() {
    use Policy::{Observe, Prefer, Require};
    let refused_by: [(Reason, &[Policy]); 9] = [
        (Reason::EarlyData, &[Require, Prefer, Observe]),
        (Reason::NotIndependent, &[Require, Prefer]),
        (Reason::NotTls13, &[Require, Prefer]),
        (Reason::Side(SideFailure::Silent), &[Require, Prefer]),
        (Reason::Side(SideFailure::Closed), &[Require, Prefer]),
        (Reason::NotRegistered, &[Require, Prefer]),
        (Reason::NotTls, &[Require]),
        (Reason::Side(SideFailure::Unreachable), &[Require]),
        (Reason::Side(SideFailure::NoGreeting), &[Require]),
    ];
    for (reason, policies) in refused_by {
        for policy in [Require, Prefer, Observe] {
            let decided = decided(policy, Outcome::Unverified(reason));
            match policies.contains(&policy) {
                true => assert!(
                    matches!(&decided, Err(Error::Unverified(why))
                        if why.reason == reason && why.side == Some(1)),
                    "{policy} {reason:?}: {decided:?}"
                ),
                false => assert!(matches!(decided, Ok(false)), "{policy} {reason:?}"),
            }
        }
    }
}

fn dial_error() -> Arc<DialError> {
    Arc::new(DialError {
        via: PathKind::Interface("wwan0".to_owned()),
        to: "example.org:443".parse().expect("an endpoint"),
        reason: DialFailure::Connect {
            address: ([192, 0, 2, 1], 443).into(),
            error: Arc::new(io::ErrorKind::ConnectionRefused.into()),
        },
    })
}

#[test]
fn the_refusal_carries_what_came_of_dialling_the_path_to_blame() {
    let mut unreachable = failed(SideFailure::Unreachable);
    unreachable.dial_error = Some(dial_error());
    let sides = [verified(), unreachable];
    let evaluation = evaluation(Policy::Require);
    let refused = evaluation.apply_policy(
        evaluation.evaluate(&results(&sides)),
        &PrimaryTls::default(),
        &results(&sides),
    );
    let Err(Error::Unverified(why)) = refused.map(|_| ()) else {
        panic!("expected a refusal");
    };
    assert_eq!(why.side, Some(1));
    assert!(why.dial.is_some());
    let side = &why.verdict.paths[2];
    assert_eq!(side.via, Some(PathKind::Interface("wwan0".to_owned())));
}

fn route(interface: &str, source: u8, proxy: Option<&str>) -> RouteInfo {
    RouteInfo {
        interface: Some(interface.to_owned()),
        source: Some([192, 0, 2, source].into()),
        proxy: proxy.map(str::to_owned),
        proxy_address: None,
    }
}

/// A side connection that has been dialled by this route.
async fn link(route: impl Into<Route>) -> SideLink {
    let (stream, other_end) = duplex(64);
    let dialed = Dialed {
        stream,
        local: None,
        peer: Some(([192, 0, 2, 9], 443).into()),
        via: PathKind::Direct,
        route: route.into(),
        resolver: None,
        mptcp: false,
    };
    let dialing = async move { Ok(dialed) }.boxed();
    let connection = SideConnection::dial(dialing, Duration::from_secs(60));
    let link = connection.attach(association()).expect("a place");
    while link.report().is_none() {
        tokio::task::yield_now().await;
    }
    drop(other_end);
    link
}

async fn verified_by(route: impl Into<Route>) -> SidePath {
    SidePath {
        link: Some(link(route).await),
        ..verified()
    }
}

/// From the most to the least independent of [`primary`].
async fn by_strength() -> Vec<(Independence, SidePath)> {
    vec![
        (
            Independence::DifferentInterface,
            verified_by(route("wwan0", 2, None)).await,
        ),
        (
            Independence::Proxied,
            verified_by(route("eth0", 1, Some("proxy.test:1080"))).await,
        ),
        (
            Independence::SameInterfaceOtherSource,
            verified_by(route("eth0", 2, None)).await,
        ),
        (
            Independence::Same,
            verified_by(route("eth0", 1, None)).await,
        ),
        (Independence::Unknown, verified()),
    ]
}

fn primary() -> PathReport {
    PathReport {
        route: Some(route("eth0", 1, None).into()),
        ..PathReport::unknown(PathRole::Primary)
    }
}

#[tokio::test]
async fn the_weakest_side_path_says_how_independent_a_connection_is() {
    let evaluation = ClientEvaluation {
        report: primary(),
        ..evaluation(Policy::Require)
    };
    assert_eq!(evaluation.independence(&[]), Independence::Unknown);
    let strength = by_strength().await.len();
    for strong in 0..strength {
        for weak in strong..strength {
            let mut of_both = by_strength().await;
            let (expected, weaker) = of_both.swap_remove(weak);
            let stronger = match strong == weak {
                true => by_strength().await.swap_remove(strong).1,
                false => of_both.swap_remove(strong).1,
            };
            let mut sides = [stronger, weaker];
            assert_eq!(evaluation.independence(&results(&sides)), expected);
            sides.reverse();
            assert_eq!(evaluation.independence(&results(&sides)), expected);
        }
    }
}

#[tokio::test]
async fn independence_is_demanded_only_where_the_settings_say_so() {
    for (independence, side) in by_strength().await {
        let sides = [side];
        for require_independent in [true, false] {
            let evaluation = ClientEvaluation {
                report: primary(),
                require_independent,
                ..evaluation(Policy::Require)
            };
            let Evaluated { outcome, side } = evaluation.evaluate(&results(&sides));
            assert_eq!(side, None);
            match require_independent && !independence.is_independent() {
                true => assert_eq!(outcome, Outcome::Unverified(Reason::NotIndependent)),
                false => assert_eq!(proofs(&outcome).len(), 1),
            }
        }
    }
}

#[tokio::test]
async fn the_verdict_reports_each_path_with_its_interface_and_result() {
    let evaluation = ClientEvaluation {
        report: primary(),
        ..evaluation(Policy::Observe)
    };
    let sides = [
        verified_by(route("wwan0", 2, None)).await,
        failed(SideFailure::Closed),
        failed(WRONG_VALUE),
        pending(),
    ];
    let decided = evaluation
        .apply_policy(
            evaluation.evaluate(&results(&sides)),
            &PrimaryTls::default(),
            &results(&sides),
        )
        .expect("observe lets it pass");
    let paths = &decided.verdict.paths;
    let roles: Vec<_> = paths.iter().map(|path| path.role).collect();
    let side = PathRole::Side;
    assert_eq!(roles, [PathRole::Primary, side, side, side, side]);
    let interfaces: Vec<_> = paths.iter().map(|path| path.interface()).collect();
    assert_eq!(interfaces, [Some("eth0"), Some("wwan0"), None, None, None]);
    let results: Vec<_> = paths.iter().map(|path| path.result).collect();
    assert_eq!(
        results,
        [
            None,
            Some("verified"),
            Some("side-closed"),
            Some("wrong-value"),
            Some("pending")
        ]
    );
    let independence: Vec<_> = paths.iter().map(|path| path.independence()).collect();
    assert_eq!(
        independence[..2],
        [None, Some(Independence::DifferentInterface)]
    );
    assert_eq!(independence[2..], [Some(Independence::Unknown); 3]);
    assert_eq!(decided.verdict.independence(), Independence::Unknown);
    assert_eq!(paths[1].peer, Some(([192, 0, 2, 9], 443).into()));
    assert!(paths.iter().all(|path| !path.reused));
}

#[tokio::test]
async fn routes_are_looked_up_once_and_only_when_the_verdict_is_read() {
    let lookups = Arc::new(AtomicUsize::new(0));
    let lazy = |interface: &'static str, source| {
        let lookups = Arc::clone(&lookups);
        Route::lazy(move || {
            lookups.fetch_add(1, Ordering::Relaxed);
            route(interface, source, None)
        })
    };
    let evaluation = ClientEvaluation {
        report: PathReport {
            route: Some(lazy("eth0", 1)),
            ..PathReport::unknown(PathRole::Primary)
        },
        ..evaluation(Policy::Require)
    };
    let sides = results(&[verified_by(lazy("wwan0", 2)).await]);
    let allowed = evaluation
        .apply_policy(evaluation.evaluate(&sides), &PrimaryTls::default(), &sides)
        .expect("a verified connection");
    assert_eq!(lookups.load(Ordering::Relaxed), 0);
    let verdict = allowed.verdict;
    for _ in 0..2 {
        assert_eq!(verdict.independence(), Independence::DifferentInterface);
        assert_eq!(verdict.clone().paths[1].interface(), Some("wwan0"));
        assert_eq!(lookups.load(Ordering::Relaxed), 2);
    }
}

#[tokio::test]
async fn a_side_connection_that_was_there_before_is_reported_as_reused() {
    let mut reused = verified_by(route("wwan0", 2, None)).await;
    if let Some(link) = &mut reused.link {
        link.reused = true;
    }
    let report = evaluation(Policy::Require).side_report(&SideResult::from(&reused));
    assert!(report.reused);
}
