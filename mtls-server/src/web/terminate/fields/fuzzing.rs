//! Fields of requests: arbitrary ones.

use hyper::Request;

use super::*;

/// Fields that are forwarded to the target under other conditions than the rest.
const CHANGED: [HeaderName; 5] = [COOKIE, EXPECT, HOST, TE, VIA];

/// The target receives each field of this server's once, none of them from the client, none that
/// concerns the client's connection, and all others unchanged.
pub(crate) fn fuzz(data: &[u8]) {
    let (&flags, lines) = data.split_first().unwrap_or((&0, &[]));
    let mut parts = request(flags, lines);
    let before = parts.headers.clone();
    let http2 = flags & 1 != 0;
    let client = ClientFacts {
        address: ([192, 0, 2, 7], 4711).into(),
        verdict: HeaderValue::from_static("unverified; reason=x"),
    };
    if to_target(&mut parts, &client, http2).is_err() {
        return;
    }
    let after = &parts.headers;
    check_own(after);
    for name in [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "transfer-encoding",
        "expect",
    ] {
        assert!(!after.contains_key(name), "{name}");
    }
    assert!(
        after
            .get_all(CONNECTION)
            .iter()
            .all(|value| value == TE_TOKEN || value == UPGRADE_TOKEN)
    );
    assert!(
        after
            .get_all(UPGRADE)
            .iter()
            .all(|value| value == WEBSOCKET)
    );
    assert_eq!(after.get_all(HOST).iter().count(), usize::from(!http2));
    let mut hop_by_hop = before.clone();
    remove_hop_by_hop(&mut hop_by_hop);
    let unchanged = hop_by_hop
        .keys()
        .filter(|name| !is_own(name) && !CHANGED.contains(name));
    for name in unchanged {
        assert!(
            before.get_all(name).iter().eq(after.get_all(name).iter()),
            "{name}"
        );
    }
}

fn check_own(after: &HeaderMap) {
    let own = [
        "multipath-verdict",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    for name in own {
        assert_eq!(after.get_all(name).iter().count(), 1, "{name}");
    }
    assert_eq!(after.keys().filter(|name| is_own(name)).count(), own.len());
    assert_eq!(after[VERDICT_FIELD], "unverified; reason=x");
    assert_eq!(after[FORWARDED_FOR], "192.0.2.7");
    assert_eq!(after[FORWARDED_PROTO], HTTPS);
}

/// A request with a field in each line.
fn request(flags: u8, lines: &[u8]) -> Parts {
    let version = match flags >> 1 & 3 {
        0 => Version::HTTP_10,
        1 => Version::HTTP_11,
        2 => Version::HTTP_2,
        _ => Version::HTTP_3,
    };
    let uri = match flags & 8 {
        0 => "/path",
        _ => "https://example.net:8443/path",
    };
    let request = Request::get(uri).version(version).body(());
    let (mut parts, ()) = request.expect("a request").into_parts();
    for line in lines.split(|byte| *byte == b'\n').take(100) {
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            parts.headers.append(name, value);
        }
    }
    parts
}
