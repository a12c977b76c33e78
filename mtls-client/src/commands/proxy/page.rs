//! The proxy's own page: what became of the last connections.
//!
//! It is served on the proxy's port, to who asks for `http://multipath.localhost/` through the
//! proxy or opens the port itself. It tells where somebody has been, so it is for this host alone:
//! only loopback peers get it, only under names that cannot be rebound by somebody's DNS, and no
//! other site may read or frame it.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use mtls_core::path::Host;
use serde::Serialize;

use super::Proxy;
use super::history::{Account, Changes};
use super::response::{Body, full, refusal};

/// The page's name. Below `localhost`, which no DNS answers for (RFC 6761, section 6.3).
const NAME: &str = "multipath.localhost";

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const ICON: &str = include_str!("page/icon.svg");

const HARDENING: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src \
         'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// Whether this host is the page's.
pub(super) fn is_at(host: &Host) -> bool {
    matches!(host, Host::Name(name) if name.as_str().trim_end_matches('.') == NAME)
}

/// Answers a request for the page and what belongs to it.
pub(super) fn respond(
    proxy: &Proxy,
    request: &Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    let mut response = match admit(request, peer) {
        Ok(()) => route(proxy, request),
        Err((status, text)) => refusal(status, text),
    };
    for (name, value) in HARDENING {
        let name = HeaderName::from_static(name);
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn admit(request: &Request<Incoming>, peer: SocketAddr) -> Result<(), (StatusCode, &'static str)> {
    if !peer.ip().to_canonical().is_loopback() {
        let text = "this page is for the proxy's own host only";
        return Err((StatusCode::FORBIDDEN, text));
    }
    if !asks_for_us(request) {
        let text = "this is a proxy; its own page is at http://multipath.localhost/";
        return Err((StatusCode::MISDIRECTED_REQUEST, text));
    }
    if from_elsewhere(request.headers()) {
        return Err((StatusCode::FORBIDDEN, "no other site may ask for this"));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "there is nothing here to be changed: GET and HEAD only";
        return Err((StatusCode::METHOD_NOT_ALLOWED, text));
    }
    Ok(())
}

/// A name that somebody else's DNS can point here must not do: a script of his would be of the
/// same origin as this page.
fn asks_for_us(request: &Request<Incoming>) -> bool {
    let named = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => {
            let host = request.headers().get(header::HOST);
            host.and_then(|host| host.to_str().ok())
        }
    };
    let authority = named.and_then(|named| named.parse::<hyper::http::uri::Authority>().ok());
    let host = authority.and_then(|authority| authority.host().parse::<Host>().ok());
    match host {
        Some(Host::Ip(_)) => true,
        Some(Host::Name(name)) => matches!(name.as_str(), NAME | "localhost"),
        None => false,
    }
}

/// Following a link to the page is fine; loading parts of it from another site is not.
fn from_elsewhere(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let same = matches!(value("sec-fetch-site"), None | Some("same-origin" | "none"));
    !same && value("sec-fetch-mode") != Some("navigate")
}

fn route(proxy: &Proxy, request: &Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/" if wants_json(request.headers()) => connections(proxy, request),
        "/" => asset("text/html; charset=utf-8", HTML),
        "/style.css" => asset("text/css; charset=utf-8", STYLE),
        "/script.js" => asset("text/javascript; charset=utf-8", SCRIPT),
        "/icon.svg" => asset("image/svg+xml", ICON),
        "/connections" => connections(proxy, request),
        other => match other.strip_prefix("/evidence/") {
            Some(name) => evidence(proxy, name),
            None => refusal(StatusCode::NOT_FOUND, "no such page"),
        },
    }
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT);
    let accepts = accepts
        .and_then(|accepts| accepts.to_str().ok())
        .unwrap_or_default();
    accepts.contains("application/json") && !accepts.contains("text/html")
}

fn asset(kind: &'static str, text: &'static str) -> Response<Body> {
    content(kind, text)
}

fn content(kind: &'static str, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// `?since=VERSION` leaves out what has not changed since.
fn connections(proxy: &Proxy, request: &Request<Incoming>) -> Response<Body> {
    #[derive(Serialize)]
    struct State<'a> {
        schema: u32,
        proxy: &'a super::About,
        open: usize,
        #[serde(flatten)]
        changes: Changes,
    }
    let query = request.uri().query().unwrap_or_default();
    let since = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("since="))
        .and_then(|version| version.parse().ok());
    let state = State {
        schema: 1,
        proxy: &proxy.about,
        open: proxy.open_tunnels(),
        changes: proxy.history.since(since.unwrap_or(0)),
    };
    json(&state)
}

/// `ID.json` and `ID.pem`.
fn evidence(proxy: &Proxy, name: &str) -> Response<Body> {
    let (id, kind) = name.split_once('.').unwrap_or_default();
    let account = id.parse().ok().and_then(|id| proxy.history.find(id));
    let Some(account) = account.filter(|account| account.evidence.contains(&kind)) else {
        let text = "no such evidence; the history may have gone on (--history)";
        return refusal(StatusCode::NOT_FOUND, text);
    };
    let mut response = match kind {
        "pem" => {
            let pem = account.presented.as_ref().map(|presented| presented.pem());
            content("application/x-pem-file", pem.unwrap_or_default())
        }
        _ => evidence_json(&account),
    };
    let file = format!("attachment; filename=\"interception-{id}.{kind}\"");
    if let Ok(value) = HeaderValue::from_str(&file) {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

fn evidence_json(account: &Account) -> Response<Body> {
    #[derive(Serialize)]
    struct Whole<'a> {
        #[serde(flatten)]
        evidence: Option<&'a mtls_core::Evidence>,
        /// What a second connection over the primary path was presented, afterwards.
        second_look: Option<&'a super::certificates::Presented>,
    }
    json(&Whole {
        evidence: account.tunnel.evidence.as_deref(),
        second_look: account.presented.as_deref(),
    })
}

fn json<T: Serialize>(value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => content("application/json", bytes),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
