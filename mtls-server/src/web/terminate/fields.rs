//! Header fields: those that are forwarded (RFC 9110, section 7.6.1), and those of this server.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName,
    HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VIA,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Version};
use mtls_core::tower::VERDICT_FIELD;

use crate::web::connection::well_formed::host_of;

/// Fields that concern one connection.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// Only this server sends these to the target, and every name that begins with `x-forwarded-`.
const OWN: [&str; 3] = ["multipath-verdict", "forwarded", "x-real-ip"];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HTTPS: HeaderValue = HeaderValue::from_static("https");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const TE_TOKEN: HeaderValue = HeaderValue::from_static("te");
const UPGRADE_TOKEN: HeaderValue = HeaderValue::from_static("upgrade");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The client of a request, for the target.
#[derive(Debug)]
pub(super) struct ClientFacts {
    pub(super) address: SocketAddr,
    pub(super) verdict: HeaderValue,
}

/// The reason why a request cannot be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidHost {
    Missing,
    Malformed,
}

impl InvalidHost {
    pub(super) const STATUS: StatusCode = StatusCode::BAD_REQUEST;

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Missing => "The request names no host.",
            Self::Malformed => "The request names more than one host, or a malformed one.",
        }
    }
}

/// Prepares the fields of a request for the target.
pub(super) fn to_target(
    parts: &mut Parts,
    client: &ClientFacts,
    http2: bool,
) -> Result<(), InvalidHost> {
    let authority = authority(parts)?;
    let wants_websocket = wants_websocket(parts);
    let trailers = parts.headers.get_all(TE).iter().any(accepts_trailers);
    let fields = &mut parts.headers;
    // First: `Connection` may name a field that is added below.
    remove_hop_by_hop(fields);
    remove_own(fields);
    // The HTTP library has answered it already.
    fields.remove(EXPECT);
    join_cookies(fields);
    fields.remove(HOST);
    let host = HeaderValue::try_from(authority.as_str()).map_err(|_| InvalidHost::Malformed)?;
    if trailers {
        fields.insert(TE, TRAILERS);
    }
    if !http2 {
        // With HTTP/2 the `:authority` is the target's own: hyper writes that one.
        fields.insert(HOST, host.clone());
        if trailers {
            fields.append(CONNECTION, TE_TOKEN);
        }
        if wants_websocket {
            fields.append(CONNECTION, UPGRADE_TOKEN);
            fields.insert(UPGRADE, WEBSOCKET);
        }
    }
    let address = client.address.ip().to_canonical();
    fields.insert(VERDICT_FIELD, client.verdict.clone());
    fields.insert(FORWARDED, forwarded(address, &authority));
    fields.insert(FORWARDED_FOR, value(address.to_string()));
    fields.insert(FORWARDED_HOST, host);
    fields.insert(FORWARDED_PROTO, HTTPS);
    fields.append(VIA, via(parts.version));
    Ok(())
}

/// Prepares the fields of a response for the client. `websocket` if the protocol changes.
pub(super) fn to_client(fields: &mut HeaderMap, websocket: bool) {
    remove_hop_by_hop(fields);
    if websocket {
        fields.insert(CONNECTION, UPGRADE_TOKEN);
        fields.insert(UPGRADE, WEBSOCKET);
    }
}

/// Whether the client requests a WebSocket (RFC 6455, section 4.1). Other protocols are not forwarded:
/// over `h2c` it could send requests that this server does not check.
pub(super) fn wants_websocket(parts: &Parts) -> bool {
    // A request of HTTP/1.0 cannot change the protocol (RFC 9110, section 7.8).
    parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && says_websocket(&parts.headers)
}

/// Whether the target accepts it.
pub(super) fn says_websocket(fields: &HeaderMap) -> bool {
    let upgrades = fields.get_all(CONNECTION).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
    });
    let mut protocols = fields.get_all(UPGRADE).iter();
    let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    upgrades && protocols.next().is_some_and(websocket) && protocols.next().is_none()
}

/// Prepares the trailers of a request for the target.
pub(super) fn trailers_to_target(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    remove_own(trailers);
    remove_framing(trailers);
}

/// Prepares the trailers of a response for the client.
pub(super) fn trailers_to_client(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    remove_framing(trailers);
    trailers.remove(VERDICT_FIELD);
}

/// Removes fields that must not be trailers: a recipient that merges them with the header fields would
/// read another message (RFC 9110, section 6.5.1).
fn remove_framing(trailers: &mut HeaderMap) {
    for name in [CONTENT_LENGTH, EXPECT, HOST, TRAILER] {
        trailers.remove(name);
    }
}

/// Removes what only this server may say. Each character that is neither a letter nor a digit counts
/// as a hyphen: to many programs (CGI, WSGI, PHP) these names are the same.
fn remove_own(fields: &mut HeaderMap) {
    let names: Vec<HeaderName> = fields.keys().filter(|name| is_own(name)).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}

fn is_own(name: &HeaderName) -> bool {
    let hyphens = |byte: char| match byte.is_ascii_alphanumeric() {
        true => byte,
        false => '-',
    };
    let name: String = name.as_str().chars().map(hyphens).collect();
    OWN.contains(&name.as_str()) || name.starts_with("x-forwarded-")
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let mut named = Vec::new();
    for value in fields.get_all(CONNECTION) {
        let names = value.as_bytes().split(|byte| *byte == b',');
        named.extend(names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()));
    }
    for name in named.iter().chain(&HOP_BY_HOP) {
        fields.remove(name);
    }
}

/// The host that the client requests (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
fn authority(parts: &Parts) -> Result<Authority, InvalidHost> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(InvalidHost::Malformed);
    }
    let authority = match (parts.uri.authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => host_of(host).ok_or(InvalidHost::Malformed)?,
        (None, None) => return Err(InvalidHost::Missing),
    };
    match authority.as_str().contains('@') {
        true => Err(InvalidHost::Malformed),
        false => Ok(authority),
    }
}

/// Joins cookies, which HTTP/2 may send one by one (RFC 9113, section 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = fields
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        fields.insert(COOKIE, joined);
    }
}

fn accepts_trailers(value: &HeaderValue) -> bool {
    let value = value.to_str().unwrap_or_default();
    value
        .split(',')
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// RFC 7239, section 4.
fn forwarded(client: IpAddr, host: &Authority) -> HeaderValue {
    let mut text = String::from("for=");
    // Writing to a string cannot fail.
    let _ = match client {
        IpAddr::V4(client) => write!(text, "{client}"),
        IpAddr::V6(client) => write!(text, "\"[{client}]\""),
    };
    let _ = write!(text, ";host=\"{host}\";proto=https");
    value(text)
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_3 => "3.0 mtls-server",
        Version::HTTP_2 => "2.0 mtls-server",
        Version::HTTP_10 => "1.0 mtls-server",
        _ => "1.1 mtls-server",
    })
}

/// The value of text from addresses and an [`Authority`], which is ASCII without line breaks.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(any(test, feature = "__fuzzing"))]
pub(in crate::web) mod fuzzing;

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn passed(request: hyper::http::request::Builder) -> Result<HeaderMap, InvalidHost> {
        passed_to(request, false)
    }

    fn passed_to(
        request: hyper::http::request::Builder,
        http2: bool,
    ) -> Result<HeaderMap, InvalidHost> {
        let client = ClientFacts {
            address: ([192, 0, 2, 7], 4711).into(),
            verdict: HeaderValue::from_static("unverified; reason=x"),
        };
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        to_target(&mut parts, &client, http2).map(|()| parts.headers)
    }

    fn get() -> hyper::http::request::Builder {
        Request::get("/").header(HOST, "example.org:8443")
    }

    #[test]
    fn the_target_is_told_who_asks_and_how() {
        let fields = passed(get()).expect("to pass");
        assert_eq!(fields[HOST], "example.org:8443");
        assert_eq!(fields[VERDICT_FIELD], "unverified; reason=x");
        assert_eq!(
            fields[FORWARDED],
            "for=192.0.2.7;host=\"example.org:8443\";proto=https"
        );
        assert_eq!(fields[FORWARDED_FOR], "192.0.2.7");
        assert_eq!(fields[FORWARDED_HOST], "example.org:8443");
        assert_eq!(fields[FORWARDED_PROTO], "https");
        assert_eq!(fields[VIA], "1.1 mtls-server");
    }

    #[test]
    fn what_only_this_server_may_say_is_never_the_clients() {
        let mut request = get();
        let names = [
            "multipath-verdict",
            "Multipath_Verdict",
            "multipath.verdict",
            "multipath~verdict",
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_for",
            "x.forwarded!for",
            "x-forwarded-client-cert",
            "x-real-ip",
        ];
        for name in names {
            request = request.header(name, "forged").header(name, "twice");
        }
        let fields = passed(request).expect("to pass");
        assert!(
            fields
                .values()
                .all(|value| value != "forged" && value != "twice"),
            "{fields:?}"
        );
        assert_eq!(fields.get_all(VERDICT_FIELD).iter().count(), 1);
    }

    #[test]
    fn a_client_cannot_have_the_verdict_dropped_by_naming_it_hop_by_hop() {
        let names = "close, Multipath-Verdict, x-forwarded-for, host, x-mine";
        let request = get().header(CONNECTION, names).header("x-mine", "1");
        let fields = passed(request).expect("to pass");
        assert_eq!(fields[VERDICT_FIELD], "unverified; reason=x");
        assert_eq!(fields[FORWARDED_FOR], "192.0.2.7");
        assert_eq!(fields[HOST], "example.org:8443");
        for gone in ["x-mine", "connection"] {
            assert!(!fields.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn a_list_of_hop_by_hop_fields_counts_although_one_of_its_names_is_invalid() {
        let names = HeaderValue::from_bytes(b"x-mine, \xff").expect("a value");
        let request = get().header(CONNECTION, names).header("x-mine", "1");
        assert!(!passed(request).expect("to pass").contains_key("x-mine"));
    }

    #[test]
    fn trailers_hold_nothing_of_one_connection_and_nothing_that_frames_a_message() {
        let mut trailers = HeaderMap::new();
        for name in [
            "connection",
            "keep-alive",
            "transfer-encoding",
            "content-length",
            "host",
            "trailer",
            "x-named",
            "multipath-verdict",
            "multipath_verdict",
            "x-kept",
        ] {
            trailers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static("x-named"),
            );
        }
        let mut to_client = trailers.clone();
        trailers_to_target(&mut trailers);
        trailers_to_client(&mut to_client);
        assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-kept"]);
        assert_eq!(to_client.len(), 2, "{to_client:?}");
        assert!(to_client.contains_key("x-kept"));
        assert!(
            to_client.contains_key("multipath_verdict"),
            "a field of the target's own"
        );
    }

    #[test]
    fn fields_of_one_connection_end_there() {
        let mut request = get().header(EXPECT, "100-continue").header(TE, "gzip");
        for name in [
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "transfer-encoding",
        ] {
            request = request.header(name, "x");
        }
        let fields = passed(request).expect("to pass");
        let known = [
            HOST,
            VERDICT_FIELD,
            FORWARDED,
            FORWARDED_FOR,
            FORWARDED_HOST,
            FORWARDED_PROTO,
            VIA,
        ];
        assert!(fields.keys().all(|name| known.contains(name)), "{fields:?}");
    }

    #[test]
    fn the_target_learns_that_trailers_are_welcome() {
        let welcome = || get().header(TE, "gzip, Trailers");
        let fields = passed_to(welcome(), true).expect("to pass");
        assert_eq!(fields[TE], "trailers");
        assert!(!fields.contains_key(HOST));
        assert!(!fields.contains_key(CONNECTION));
        assert_eq!(fields[FORWARDED_HOST], "example.org:8443");
        let fields = passed(welcome()).expect("to pass");
        assert_eq!(fields[TE], "trailers");
        assert_eq!(fields[CONNECTION], "te");
    }

    #[test]
    fn only_a_websocket_may_change_the_protocol() {
        let upgrade = |protocol| {
            get()
                .header(CONNECTION, "keep-alive, Upgrade")
                .header(UPGRADE, protocol)
        };
        let fields = passed(upgrade("WebSocket")).expect("to pass");
        assert_eq!(fields[CONNECTION], "upgrade");
        assert_eq!(fields[UPGRADE], "websocket");
        for request in [
            upgrade("h2c"),
            upgrade("websocket, h2c"),
            upgrade("websocket").header(UPGRADE, "h2c"),
            upgrade("websocket").version(Version::HTTP_2),
            upgrade("websocket").version(Version::HTTP_10),
            upgrade("websocket").method(Method::POST),
            get().header(UPGRADE, "websocket"),
        ] {
            let fields = passed(request).expect("to pass");
            assert!(!fields.contains_key(UPGRADE), "{fields:?}");
            assert!(!fields.contains_key(CONNECTION), "{fields:?}");
        }
    }

    #[test]
    fn the_host_is_one_and_makes_sense() {
        let http2 = Request::get("https://example.net/").version(Version::HTTP_2);
        let fields = passed(http2.header(HOST, "ignored")).expect("to pass");
        assert_eq!(fields[HOST], "example.net");
        assert_eq!(passed(Request::get("/")).err(), Some(InvalidHost::Missing));
        for host in ["", "a b", "u@example.org", "x\"y", "a/b", "a:b", "a:65536"] {
            let request = Request::get("/").header(HOST, host);
            assert_eq!(
                passed(request).err(),
                Some(InvalidHost::Malformed),
                "{host:?}"
            );
        }
        let twice = get().header(HOST, "other");
        assert_eq!(passed(twice).err(), Some(InvalidHost::Malformed));
    }

    #[test]
    fn cookies_that_came_one_by_one_are_joined() {
        let request = get().header(COOKIE, "a=1").header(COOKIE, "b=2");
        let fields = passed(request).expect("to pass");
        assert_eq!(fields.get_all(COOKIE).iter().count(), 1);
        assert_eq!(fields[COOKIE], "a=1; b=2");
    }

    #[test]
    fn an_address_of_ip_6_is_quoted() {
        let client = "2001:db8::1".parse().expect("an address");
        let host = Authority::from_static("example.org");
        assert_eq!(
            forwarded(client, &host),
            "for=\"[2001:db8::1]\";host=\"example.org\";proto=https"
        );
    }
}
