//! The rules of changes, and the file store: concurrency, damage, limits, clocks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::proto::binding::{Association, Binding, Bindings, Value, Values};
use crate::proto::client::{
    ClientOutcome, ClientVerifier, Peer, SideFailure, SideProof, TlsVersion,
};
use crate::proto::frame::{Frame, FrameBody};
use crate::verdict::method::Method;
use crate::verdict::resumption::{ResumptionDirection, ResumptionProof};
use crate::verdict::{Outcome, RAW_PUBLIC_KEY, Reason, Times, TlsReport, Verdict, Verified};

mod disk;
#[cfg(feature = "known-hosts")]
mod field;
mod month;

const DAY: u64 = 24 * 3600;
const NOW: u64 = 1_700_000_000;

fn host(text: &str) -> Endpoint {
    text.parse().expect("an endpoint")
}

fn proof() -> SideProof {
    let association = Association([3; 16]);
    let mut verifier = ClientVerifier::new(association, Bindings::ALL);
    verifier.handle_link([1; 32]);
    verifier.handle_peer(Peer::Greeted);
    let body = FrameBody::Proof {
        nonce_s: [2; 32],
        binding: Binding::Exporter,
        value: Value([7; 32]),
    };
    verifier.handle_frame(&Frame { association, body }, [0; 32]);
    verifier.handle_tls_complete(TlsVersion::Tls13, [0; 32]);
    assert!(verifier.poll_check().is_some());
    verifier.handle_values(&Values {
        server: Value([7; 32]),
        client: Value([8; 32]),
    });
    match verifier.outcome() {
        ClientOutcome::Verified(proof) => proof,
        other => panic!("{other:?}"),
    }
}

fn verdict(outcome: Outcome) -> Verdict {
    Verdict {
        outcome,
        method: Method::Side,
        association: None,
        paths: Vec::new(),
        tls: TlsReport::default(),
        times: Times::default(),
    }
}

/// By the side protocol.
fn greets() -> Verdict {
    let verified = Verified::new(vec![proof()], Vec::new()).expect("a proof");
    verdict(Outcome::Verified(verified))
}

fn resumes() -> Verdict {
    let proof = ResumptionProof::new(ResumptionDirection::Forward);
    let verified = Verified::new(Vec::new(), vec![proof]).expect("a proof");
    verdict(Outcome::Verified(verified))
}

fn with_key(mut verdict: Verdict, key: u8, raw: bool) -> Verdict {
    verdict.tls.peer_key_sha256 = Some(pin(key).to_string());
    verdict.tls.server_key = Some(if raw { RAW_PUBLIC_KEY } else { "certificate" });
    verdict
}

fn pin(key: u8) -> KeyPin {
    KeyPin::of(&[key])
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

fn remember(verdict: &Verdict, max_age: Duration) -> Change {
    Change::remember(verdict, Remember::by_user(max_age)).expect("a verified connection")
}

fn remembered() -> HostEntry {
    let entry = remember(&greets(), days(10)).apply(None, NOW);
    entry.expect("an entry")
}

fn neither() -> Change {
    Change::neither(Duration::from_secs(600), pin(1))
}

#[test]
fn an_entry_is_renewed_at_most_once_an_hour() {
    let first = remembered();
    let again = |entry: &HostEntry, now| {
        let renewed = remember(&greets(), days(10)).apply(Some(entry.clone()), now);
        renewed.expect("an entry")
    };
    assert_eq!(again(&first, NOW + 3_599), first);
    let renewed = again(&first, NOW + 3_600);
    assert_eq!(renewed.recorded, NOW + 3_600);
    // A change is recorded at once.
    let longer = remember(&greets(), days(20)).apply(Some(first.clone()), NOW + 1);
    assert_eq!(longer.expect("an entry").expires(), NOW + 1 + 20 * DAY);
}

#[test]
fn only_a_verified_connection_makes_an_entry() {
    let unreached = Reason::Side(SideFailure::Unreachable);
    for outcome in [
        Outcome::Unverified(Reason::Side(SideFailure::NoGreeting)),
        Outcome::Pinned(unreached),
        Outcome::Unverified(unreached),
    ] {
        let verdict = verdict(outcome);
        assert!(Change::remember(&verdict, Remember::by_user(days(1))).is_none());
        assert!(Change::seen(&verdict, true).is_none());
        assert!(Change::forget(&verdict).is_none());
    }
    // The weaker method cannot remove what the side protocol has shown.
    assert!(Change::forget(&resumes()).is_none());
}

#[test]
fn a_server_without_support_never_replaces_one_that_was_verified() {
    let entry = remembered();
    let after = neither().apply(Some(entry.clone()), NOW + 1);
    assert_eq!(after.as_ref(), Some(&entry));
    let weak = remember(&resumes(), days(10)).apply(None, NOW);
    assert_eq!(neither().apply(weak.clone(), NOW + 1), weak);
    // It lasts no longer than an hour, whatever the setting.
    let long = Change::neither(days(9), pin(1))
        .apply(None, NOW)
        .expect("an entry");
    assert_eq!(long.expires(), NOW + 3600);
    // And gives way at once.
    let greeting = remember(&greets(), days(10)).apply(Some(long), NOW + 1);
    assert_eq!(greeting.map(|entry| entry.support), Some(Support::Greets));
}

#[test]
fn resumption_never_makes_less_of_a_host_that_greets() {
    let after = remember(&resumes(), days(20)).apply(Some(remembered()), NOW + 1);
    assert_eq!(after.map(|entry| entry.support), Some(Support::Greets));
    let weak = remember(&resumes(), days(10)).apply(None, NOW);
    let seen = Change::seen(&greets(), false)
        .expect("a change")
        .apply(weak, NOW + 1);
    assert_eq!(seen.map(|entry| entry.support), Some(Support::Greets));
}

#[test]
fn the_keys_of_verified_connections_are_kept_the_newest_first_and_bounded() {
    let mut entry = Some(remembered());
    for key in 0..20 {
        let seen = Change::seen(&with_key(greets(), key, false), false);
        entry = seen.expect("a change").apply(entry, NOW + u64::from(key));
    }
    let keys: Vec<_> = (12..20).rev().map(pin).collect();
    let entry = entry.expect("an entry");
    assert_eq!(entry.keys, keys);
    assert_eq!(entry.raw_key, None);
    // Their times do not extend the entry.
    assert_eq!(entry.expires(), NOW + 10 * DAY);
}

#[test]
fn a_raw_key_is_replaced_only_where_the_user_accepts_a_new_one() {
    let first = with_key(greets(), 1, true);
    let entry = remember(&first, days(10)).apply(None, NOW);
    let second = with_key(greets(), 2, true);
    let refused = remember(&second, days(10)).apply(entry.clone(), NOW + 1);
    assert_eq!(refused.and_then(|entry| entry.raw_key), Some(pin(1)));
    for accepted in [
        Change::remember(&second, Remember::by_user(days(10)).accept_new_key(true)),
        Change::seen(&second, true),
    ] {
        let entry = accepted.expect("a change").apply(entry.clone(), NOW + 1);
        assert_eq!(entry.and_then(|entry| entry.raw_key), Some(pin(2)));
    }
}

#[test]
fn a_connection_without_an_entry_records_nothing() {
    assert_eq!(
        Change::seen(&greets(), false)
            .expect("a change")
            .apply(None, NOW),
        None
    );
    let expired = Change::seen(&greets(), false).expect("a change");
    assert_eq!(expired.apply(Some(remembered()), NOW + 10 * DAY), None);
}

#[test]
fn entries_expire_and_those_of_the_future_only_strengthen() {
    let entry = remembered();
    assert!(!entry.is_expired(NOW + 10 * DAY - 1));
    assert!(entry.is_expired(NOW + 10 * DAY));
    assert!(!entry.is_expired(NOW - 400 * DAY));
    assert!(entry.is_from_the_future(NOW - 2 * DAY));
    let weak = neither().apply(None, NOW).expect("an entry");
    assert!(!weak.is_expired(NOW + 599));
    assert!(weak.is_expired(NOW + 600));
    assert!(weak.is_expired(NOW - 1));
    // No time overflows.
    let endless = HostEntry {
        recorded: u64::MAX,
        max_age: u64::MAX,
        ..remembered()
    };
    assert!(!endless.is_expired(NOW));
}
