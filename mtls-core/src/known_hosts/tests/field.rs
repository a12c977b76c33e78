//! The response field `Multipath-TLS`.

use super::*;
use crate::known_hosts::Advertisement;
use crate::verdict::{PathReport, PathRole};

fn parsed(value: &str) -> Result<Advertisement, AdvertisementError> {
    value.as_bytes().try_into()
}

fn applied(value: &str, verdict: &Verdict, entry: Option<HostEntry>) -> Option<HostEntry> {
    let advertised = parsed(value).expect("a field");
    let change = advertised
        .change(&host("a.test:443"), verdict)
        .expect("a change");
    match change {
        Some(change) => change.apply(entry, NOW + 1),
        None => entry,
    }
}

#[test]
fn values_are_parsed_as_structured_fields() {
    for (value, seconds, endpoint) in [
        ("max-age=60", 60, None),
        ("max-age=0", 0, None),
        (
            "max-age=60; side-endpoint=\"s.test:1\"",
            60,
            Some("s.test:1"),
        ),
        (
            "max-age=60;side-endpoint=\"[2001:db8::1]:1\"",
            60,
            Some("[2001:db8::1]:1"),
        ),
        ("new;x=1, max-age=60;y, other=(1 2)", 60, None),
        // The last one counts (RFC 9651, section 4.2.2).
        ("max-age=60, max-age=61", 61, None),
        ("max-age=999999999999999", 2 * 365 * DAY, None),
    ] {
        let advertised = parsed(value).expect(value);
        assert_eq!(advertised.max_age().as_secs(), seconds, "{value}");
        let expected = Advertisement::new(Duration::from_secs(seconds));
        let expected = match endpoint {
            Some(endpoint) => expected.side_endpoint(host(endpoint)),
            None => expected,
        };
        assert_eq!(advertised, expected, "{value}");
    }
}

#[test]
fn invalid_values_are_ignored_with_the_reason() {
    for value in [
        "",
        "max-age",
        "max-age=-1",
        "max-age=1.5",
        "max-age=\"60\"",
        "max-age=(60)",
        "side-endpoint=\"s.test:1\"",
        "max-age=60;side-endpoint=\"s.test\"",
        "max-age=60;side-endpoint=s.test",
        "max-age=60;side-endpoint",
        "max-age = 60",
        "max-age=60;",
        "Max-Age=60",
        &format!("max-age=60, x=\"{}\"", "a".repeat(1024)),
    ] {
        let error = parsed(value).expect_err(value).to_string();
        assert!(error.contains("is ignored: "), "{error}");
    }
}

#[test]
fn a_field_counts_only_where_the_side_protocol_verified_the_connection() {
    let unverified = verdict(Outcome::Unverified(Reason::Side(SideFailure::NoGreeting)));
    for verdict in [unverified, resumes()] {
        assert_eq!(applied("max-age=60", &verdict, None), None);
        let entry = Some(remembered());
        assert_eq!(applied("max-age=0", &verdict, entry.clone()), entry);
    }
    let entry =
        applied("max-age=60;side-endpoint=\"s.test:1\"", &greets(), None).expect("an entry");
    assert_eq!(entry.support, Support::Greets);
    assert_eq!(entry.origin, Origin::Field);
    assert_eq!(entry.side_endpoint, Some(host("s.test:1")));
    assert_eq!(entry.expires(), NOW + 1 + 60);
    // A server is forgotten at its request, and renewed by each response.
    assert_eq!(applied("max-age=0", &greets(), Some(entry.clone())), None);
    let renewed = applied("max-age=50", &greets(), Some(entry)).expect("an entry");
    assert_eq!(
        (renewed.expires(), renewed.side_endpoint),
        (NOW + 1 + 50, None)
    );
}

#[test]
fn a_server_cannot_shorten_remove_or_redirect_what_the_user_decided() {
    let entry = remembered();
    assert_eq!(
        applied("max-age=0", &greets(), Some(entry.clone())),
        Some(entry.clone())
    );
    let value = "max-age=60;side-endpoint=\"s.test:1\"";
    let after = applied(value, &greets(), Some(entry.clone())).expect("an entry");
    assert_eq!(after.origin, Origin::User);
    assert_eq!(after.expires(), entry.expires());
    assert_eq!(after.side_endpoint, None);
    let longer = applied("max-age=9999999", &greets(), Some(entry)).expect("an entry");
    assert_eq!(longer.expires(), NOW + 1 + 9_999_999);
}

#[test]
fn a_server_cannot_direct_its_clients_to_machines_around_them() {
    let at = |address: &str| {
        let mut verdict = greets();
        let mut primary = PathReport::unknown(PathRole::Primary);
        primary.peer = Some(address.parse().expect("an address"));
        verdict.paths.push(primary);
        verdict
    };
    let public = at("198.51.100.1:443");
    for local in [
        "127.0.0.1:1",
        "localhost:1",
        "a.localhost.:1",
        "10.1.2.3:1",
        "192.168.1.1:80",
        "169.254.169.254:80",
        "100.64.0.1:1",
        "0.0.0.0:1",
        "[::1]:1",
        "[::ffff:10.0.0.1]:1",
        "[fe80::1]:1",
        "[fd00::1]:1",
        "[64:ff9b::10.0.0.1]:1",
        "[2002:a00:1::1]:1",
        "224.0.0.1:1",
    ] {
        let advertised = Advertisement::new(days(1)).side_endpoint(host(local));
        let refused = advertised.clone().change(&host("a.test:443"), &public);
        assert!(
            matches!(refused, Err(AdvertisementError::LocalSideEndpoint(_))),
            "{local}"
        );
        // A server of this network may.
        let own = advertised
            .clone()
            .change(&host("a.test:443"), &at("10.0.0.1:443"));
        assert!(matches!(own, Ok(Some(_))), "{local}");
        let own = advertised.change(&host("127.0.0.1:443"), &public);
        assert!(matches!(own, Ok(Some(_))), "{local}");
    }
    for public_endpoint in ["203.0.113.1:1", "s.test:1", "[2001:db8::1]:1"] {
        let advertised = Advertisement::new(days(1)).side_endpoint(host(public_endpoint));
        assert!(
            advertised.change(&host("a.test:443"), &public).is_ok(),
            "{public_endpoint}"
        );
    }
}
