use super::*;
use crate::ClientSettings;

const NO_GREETING: Reason = Reason::Side(SideFailure::NoGreeting);
const UNREACHABLE: Reason = Reason::Side(SideFailure::Unreachable);
const UNSUPPORTED: Reason = Reason::Resumption(ResumptionFailure::Unsupported);

fn known(policy: Policy) -> KnownHost {
    KnownHost {
        sides: Some("side if:wwan0".to_owned()),
        ..KnownHost::unknown(policy)
    }
}

/// A verdict with this worst reason, of side paths with these results.
fn verdict(reason: Reason, results: &[&'static str]) -> Verdict {
    let side = |result: &&'static str| PathReport {
        result: Some(result),
        ..PathReport::unknown(PathRole::Side)
    };
    let mut paths = vec![PathReport::unknown(PathRole::Primary)];
    paths.extend(results.iter().map(side));
    Verdict {
        method: Method::Side,
        outcome: Outcome::Unverified(reason),
        association: None,
        paths,
        tls: TlsReport::default(),
        times: Default::default(),
    }
}

fn is_recorded(policy: Policy, reason: Reason, results: &[&'static str]) -> bool {
    let verdict = verdict(reason, results);
    let memory = ClientSettings::new(policy).memory;
    let change = known(policy).change(&memory, &verdict);
    change.is_some()
}

#[test]
fn a_server_supports_nothing_only_if_every_side_path_has_shown_it() {
    for (reason, results, expected) in [
        (NO_GREETING, &["no-greeting"][..], true),
        (NO_GREETING, &["no-greeting", "no-greeting"], true),
        (UNSUPPORTED, &["unsupported"], true),
        // Another path verifies the server, and would detect an attacker on the primary path.
        (NO_GREETING, &["verified", "no-greeting"], false),
        (NO_GREETING, &["no-greeting", "verified"], false),
        // A path that is down shows nothing.
        (NO_GREETING, &["no-greeting", "unreachable"], false),
        (UNREACHABLE, &["unreachable"], false),
    ] {
        let recorded = is_recorded(Policy::Prefer, reason, results);
        assert_eq!(recorded, expected, "{results:?}");
    }
}

#[test]
fn only_prefer_remembers_that_a_server_supports_nothing() {
    for policy in [Policy::Require, Policy::Observe] {
        assert!(!is_recorded(policy, NO_GREETING, &["no-greeting"]));
    }
}

#[test]
fn the_support_of_a_server_is_remembered_for_its_side_endpoint() {
    let known = known(Policy::Prefer);
    let here = known.sides();
    let elsewhere: Endpoint = "side.example.org:443".parse().expect("an endpoint");
    assert_ne!(known.at(&elsewhere).sides(), here);
}
