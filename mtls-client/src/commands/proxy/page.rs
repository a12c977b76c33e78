//! The page of the proxy, which shows the last connections.
//!
//! It is served on the proxy's port, and at `http://multipath.localhost/` through the proxy. It
//! shows a browsing history, so it is for this host only: only loopback peers get it, only under
//! names that DNS rebinding cannot use, and no other site may read or frame it. Remote clients
//! cannot reach it through the proxy either (see [`dial`](super::tunnels::dial)).

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use mtls_core::path::Host;
use serde::Serialize;

use super::Proxy;
use super::certificates;
use super::history::{Changes, ConnectionReport};
use super::response::{Body, error, full};
use crate::output::local_page;

/// The page's name. DNS does not resolve names under `localhost` (RFC 6761, section 6.3).
const NAME: &str = "multipath.localhost";

const HTML: &str = include_str!("page/index.html");
const SCRIPT: &str = concat!(
    include_str!("../../output/page/common.js"),
    include_str!("page/script.js")
);

/// Whether this is the host of the page.
pub(super) fn is_at(host: &Host) -> bool {
    matches!(host, Host::Name(name) if name.as_str().trim_end_matches('.') == NAME)
}

/// Responds to a request for the page and its files.
pub(super) fn respond(
    proxy: &Proxy,
    request: &Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    let mut response = match admit(request, peer) {
        Ok(()) => route(proxy, request),
        Err((status, text)) => error(status, text),
    };
    local_page::harden(response.headers_mut());
    response
}

fn admit(request: &Request<Incoming>, peer: SocketAddr) -> Result<(), (StatusCode, &'static str)> {
    if !peer.ip().to_canonical().is_loopback() {
        let text = "this page is only for the host of the proxy";
        return Err((StatusCode::FORBIDDEN, text));
    }
    if !local_page::is_for_this_host(request.uri(), request.headers(), NAME) {
        let text = "this is a proxy; its page is at http://multipath.localhost/";
        return Err((StatusCode::MISDIRECTED_REQUEST, text));
    }
    if local_page::is_cross_site(request.headers()) {
        return Err((
            StatusCode::FORBIDDEN,
            "requests from other sites are refused",
        ));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "only GET and HEAD are supported";
        return Err((StatusCode::METHOD_NOT_ALLOWED, text));
    }
    Ok(())
}

fn route(proxy: &Proxy, request: &Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/" if wants_json(request.headers()) => connections(proxy, request),
        "/" => asset("text/html; charset=utf-8", HTML),
        "/style.css" => asset("text/css; charset=utf-8", local_page::STYLE),
        "/script.js" => asset("text/javascript; charset=utf-8", SCRIPT),
        "/icon.svg" => asset("image/svg+xml", local_page::ICON),
        "/connections" => connections(proxy, request),
        other => match other.strip_prefix("/evidence/") {
            Some(name) => evidence(proxy, name),
            None => error(StatusCode::NOT_FOUND, "no such page"),
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

/// The connections as JSON; with `?since=VERSION` those that have changed.
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

/// The evidence of a connection: `ID.json` or `ID.pem`.
fn evidence(proxy: &Proxy, name: &str) -> Response<Body> {
    let (id, kind) = name.split_once('.').unwrap_or_default();
    let report = id.parse().ok().and_then(|id| proxy.history.find(id));
    let Some(report) = report.filter(|report| report.evidence.contains(&kind)) else {
        let text = "evidence not found; it may have left the history, which --history enlarges";
        return error(StatusCode::NOT_FOUND, text);
    };
    let mut response = match kind {
        "pem" => {
            let pem = report
                .certificates
                .as_ref()
                .map(|look| certificates::pem(look));
            content("application/x-pem-file", pem.unwrap_or_default())
        }
        _ => evidence_json(&report),
    };
    let file = format!("attachment; filename=\"interception-{id}.{kind}\"");
    if let Ok(value) = HeaderValue::from_str(&file) {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

fn evidence_json(report: &ConnectionReport) -> Response<Body> {
    let Some(evidence) = report.tunnel.evidence.as_deref() else {
        return error(StatusCode::NOT_FOUND, "evidence not found");
    };
    let json = match report.certificates.as_deref() {
        Some(look) => evidence.clone().with_second_look(look.clone()).to_json(),
        None => evidence.to_json(),
    };
    match json {
        Ok(bytes) => content("application/json", bytes),
        Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
    }
}

fn json<T: Serialize>(value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => content("application/json", bytes),
        Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
    }
}
