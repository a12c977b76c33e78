//! Known hosts: violations of their entries, and remembered keys.

use super::*;
use crate::known_hosts::{HostEntry, KeyPin, Support};
use crate::verdict::RAW_PUBLIC_KEY;

fn entry(support: Support) -> HostEntry {
    let text = format!(
        r#"{{"support":"{support}","origin":"user","recorded":1,"max_age":2,"keys":["{}"],"raw_key":"{}"}}"#,
        KeyPin::of(b"leaf"),
        KeyPin::of(b"raw"),
    );
    serde_json::from_str(&text).expect("an entry")
}

fn apply(
    known: KnownHost,
    failure: Option<Reason>,
    shown: Option<(&[u8], bool)>,
) -> Result<Allowed, Error> {
    let evaluation = ClientEvaluation {
        known: Box::leak(Box::new(known)),
        ..evaluation(Policy::Require)
    };
    let report = TlsReport {
        peer_key_sha256: shown.map(|(key, _)| KeyPin::of(key).to_string()),
        server_key: shown.map(|(_, raw)| if raw { RAW_PUBLIC_KEY } else { "certificate" }),
        ..TlsReport::default()
    };
    let primary = PrimaryTls {
        report,
        ..PrimaryTls::default()
    };
    let sides: Vec<_> = match failure {
        None => results(&[verified()]),
        Some(Reason::Side(failure)) => results(&[failed(failure)]),
        Some(reason) => panic!("{reason:?}"),
    };
    evaluation.apply_policy(evaluation.evaluate(&sides), &primary, &sides)
}

#[test]
fn a_host_that_greets_is_violated_where_the_policy_would_have_accepted_the_connection() {
    let no_greeting = SideFailure::NoGreeting;
    for (configured, failure, violated) in [
        (Policy::Prefer, no_greeting, true),
        (Policy::Observe, no_greeting, true),
        (Policy::Require, no_greeting, true),
        (Policy::Prefer, SideFailure::Unreachable, true),
        (Policy::Require, SideFailure::Unreachable, false),
        (Policy::Prefer, SideFailure::Silent, false),
        (Policy::Observe, SideFailure::Silent, true),
    ] {
        let known = KnownHost::unknown(configured).entered(entry(Support::Greets));
        match apply(known, Some(Reason::Side(failure)), None) {
            Err(Error::KnownHost(_)) => assert!(violated, "{configured} {failure:?}"),
            Err(Error::Unverified(_)) => assert!(!violated, "{configured} {failure:?}"),
            other => panic!("{configured} {failure:?}: {:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn an_interception_takes_precedence_over_a_violation_and_a_changed_key() {
    let known = KnownHost::unknown(Policy::Observe).entered(entry(Support::Greets));
    let result = apply(
        known,
        Some(Reason::Side(WRONG_VALUE)),
        Some((b"other", true)),
    );
    assert!(matches!(result, Err(Error::Interception(_))));
}

#[test]
fn another_raw_key_is_refused_and_another_certificate_is_not() {
    for (shown, refused) in [
        ((&b"raw"[..], true), false),
        ((b"other", true), true),
        ((b"leaf", true), true),
        ((b"other", false), false),
    ] {
        let known = KnownHost::unknown(Policy::Require).entered(entry(Support::Greets));
        let result = apply(known, None, Some(shown));
        assert_eq!(
            matches!(result, Err(Error::KnownHost(_))),
            refused,
            "{shown:?}"
        );
        assert_eq!(result.is_ok(), !refused, "{shown:?}");
    }
}

/// Its certificate is the remembered one: a stolen ticket is enough.
#[test]
fn a_resumed_handshake_shows_no_key_to_pin() {
    for (handshake, pinned) in [("full", true), ("resumed", false)] {
        let known = KnownHost::unknown(Policy::Require).entered(entry(Support::Greets));
        let tls = TlsReport {
            peer_key_sha256: Some(KeyPin::of(b"leaf").to_string()),
            server_key: Some("certificate"),
            handshake: Some(handshake),
            ..TlsReport::default()
        };
        assert_eq!(
            known.allowing_pinned().is_pinned(&tls),
            pinned,
            "{handshake}"
        );
    }
}

#[test]
fn a_key_is_pinned_only_where_it_is_allowed_remembered_and_no_side_path_was_connected() {
    let unreachable = SideFailure::Unreachable;
    for (allowed, failure, shown, pinned) in [
        (true, unreachable, Some((&b"leaf"[..], false)), true),
        (true, unreachable, Some((b"raw", true)), true),
        (false, unreachable, Some((b"leaf", false)), false),
        (true, unreachable, Some((b"raw", false)), false),
        (true, unreachable, None, false),
        (true, SideFailure::NoGreeting, Some((b"leaf", false)), false),
        (true, SideFailure::Silent, Some((b"leaf", false)), false),
        (true, SideFailure::Closed, Some((b"leaf", false)), false),
    ] {
        let known = KnownHost::unknown(Policy::Require).entered(entry(Support::Greets));
        let known = match allowed {
            true => known.allowing_pinned(),
            false => known,
        };
        let result = apply(known, Some(Reason::Side(failure)), shown);
        let outcome = result.map(|allowed| allowed.verdict.outcome);
        match outcome {
            Ok(outcome) => {
                assert!(pinned, "{failure:?} {shown:?}");
                assert_eq!(outcome.as_str(), "pinned");
            }
            Err(_) => assert!(!pinned, "{failure:?} {shown:?}"),
        }
    }
}

#[test]
fn a_host_that_nothing_verifies_is_not_verified_again_but_by_inheritance() {
    let unsupported = || KnownHost::unsupported(entry(Support::Neither));
    let unknown = || KnownHost::unknown(Policy::Prefer);
    let origin = || Some(Arc::new(Origin::now(Method::Side, Vec::new())));
    for (known, inherits, reason) in [
        (unsupported(), None, Some(Reason::KnownUnsupported)),
        (unsupported(), origin(), None),
        (unknown(), None, None),
        (unknown(), origin(), None),
    ] {
        let evaluation = ClientEvaluation {
            known: &known,
            inherits,
            ..evaluation(Policy::Prefer)
        };
        let sides = results(&[verified()]);
        let allowed = evaluation.allow(&PrimaryTls::default(), None, &sides);
        let verdict = allowed.expect("a connection").verdict;
        assert_eq!(verdict.outcome.reason(), reason.map(|r| r.as_str()));
        assert_eq!(verdict.verified().is_some(), reason.is_none());
    }
}
