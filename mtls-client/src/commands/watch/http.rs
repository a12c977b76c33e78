//! The status page, its JSON, and the metrics over HTTP.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Watch;
use super::metrics;
use super::observation::{Kind, Observation, now};
use super::state::HISTORY;
use crate::output::local_page;

/// The maximum number of connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// The maximum time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The lifetime of a connection: a client that does not read its response frees its place.
const LIFETIME: Duration = Duration::from_secs(30);
/// The pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = concat!(
    include_str!("../../output/page/style.css"),
    include_str!("page/style.css")
);
const SCRIPT: &str = concat!(
    include_str!("../../output/page/common.js"),
    include_str!("page/script.js")
);

type Page = Response<Full<Bytes>>;

/// Serves; without a listener, waits for ever. A public page is for every host name.
pub(super) async fn serve(
    watch: &Arc<Watch>,
    listener: Option<TcpListener>,
    is_public: bool,
) -> Infallible {
    let Some(listener) = listener else {
        return pending().await;
    };
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let watch = Arc::clone(watch);
                tokio::spawn(async move {
                    let _ = timeout(LIFETIME, connection(watch, stream, is_public)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(watch: Arc<Watch>, stream: TcpStream, is_public: bool) {
    let service = service_fn(|request| {
        let response = respond(&watch, &request, is_public);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "connection ended");
    }
}

fn respond(watch: &Watch, request: &Request<Incoming>, is_public: bool) -> Page {
    let mut response = match admit(request, is_public) {
        Ok(()) => route(watch, request.uri().path()),
        Err((status, reason)) => error(status, reason),
    };
    local_page::harden(response.headers_mut());
    response
}

fn admit(request: &Request<Incoming>, is_public: bool) -> Result<(), (StatusCode, &'static str)> {
    if !is_public && !local_page::is_for_this_host(request.uri(), request.headers(), "localhost") {
        let reason = "this page is only for the host of the program";
        return Err((StatusCode::MISDIRECTED_REQUEST, reason));
    }
    if local_page::is_cross_site(request.headers()) {
        let reason = "requests from other sites are refused";
        return Err((StatusCode::FORBIDDEN, reason));
    }
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are supported",
        )),
    }
}

fn route(watch: &Watch, path: &str) -> Page {
    match path {
        "/" => content("text/html; charset=utf-8", HTML),
        "/style.css" => content("text/css; charset=utf-8", STYLE),
        "/script.js" => content("text/javascript; charset=utf-8", SCRIPT),
        "/icon.svg" => content("image/svg+xml", local_page::ICON),
        "/metrics" => content(
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::text(watch),
        ),
        "/targets" => targets(watch),
        _ => error(StatusCode::NOT_FOUND, "no such page"),
    }
}

fn content(kind: &'static str, text: impl Into<Bytes>) -> Page {
    let mut response = Response::new(Full::new(text.into()));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn error(status: StatusCode, reason: &str) -> Page {
    let text = format!("mtls-client watch: {reason}\n");
    let mut response = content("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    response
}

/// All targets as JSON. A history is a list of runs of one verdict: the verdict, the number of
/// results, and the times of the first and the last one.
fn targets(watch: &Watch) -> Page {
    #[derive(Serialize)]
    struct Body<'a> {
        schema: u32,
        version: &'static str,
        now: u64,
        started: u64,
        every_seconds: f64,
        history: usize,
        targets: Vec<Entry<'a>>,
    }
    #[derive(Serialize)]
    struct Entry<'a> {
        target: &'a str,
        current: Option<&'a Observation>,
        since: u64,
        checks: u64,
        history: Vec<(Kind, usize, u64, u64)>,
    }
    let state = watch.lock();
    let entries = state.targets.iter().map(|(target, entry)| Entry {
        target,
        current: entry.current.as_ref(),
        since: entry.since,
        checks: entry.checks,
        history: runs(entry.history.iter().copied()),
    });
    let body = Body {
        schema: 1,
        version: env!("CARGO_PKG_VERSION"),
        now: now(),
        started: watch.started,
        every_seconds: watch.every.as_secs_f64(),
        history: HISTORY,
        targets: entries.collect(),
    };
    match serde_json::to_vec(&body) {
        Ok(bytes) => content("application/json", bytes),
        Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
    }
}

fn runs(history: impl Iterator<Item = (u64, Kind)>) -> Vec<(Kind, usize, u64, u64)> {
    let mut runs: Vec<(Kind, usize, u64, u64)> = Vec::new();
    for (time, kind) in history {
        match runs.last_mut() {
            Some((last, count, _, end)) if *last == kind => {
                *count += 1;
                *end = time;
            }
            _ => runs.push((kind, 1, time, time)),
        }
    }
    runs
}
