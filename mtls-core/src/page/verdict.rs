//! `/.multipath`: the verdict on the requesting connection, for people, programs and terminals.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use askama::Template;
use bytes::Bytes;
use http::header::{ALLOW, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use tower_service::Service;

use super::as_text::AsText;
use super::document::Document;
use super::facts::Facts;
use super::response::{Notice, Uncached};
use super::words::{INTERCEPTION, KNOWN, TRUST, UNKNOWN, Words};
use crate::tower::{Media, MultipathConnectInfo};
use crate::verdict::Verdict;

/// The path of the page.
pub const VERDICT_PATH: &str = "/.multipath";

const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD");
const READ_ONLY: Notice<&str> = Notice {
    status: StatusCode::METHOD_NOT_ALLOWED,
    text: "This page can only be read: use GET or HEAD.",
};
const NO_VERDICT: Notice<&str> = Notice {
    status: StatusCode::NOT_FOUND,
    text: "This connection has no verdict: it does not use multipath TLS.",
};

/// A tower service that responds with the verdict on the requesting connection: as HTML, text or JSON,
/// by `Accept`.
///
/// It needs the [`MultipathConnectInfo`] of the connection in the extensions of the request, and
/// responds with 404 without it.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerdictPage;

impl VerdictPage {
    /// The response to a request with this method and these fields.
    pub fn response(
        self,
        method: &Method,
        headers: &HeaderMap,
        connection: Option<&MultipathConnectInfo>,
    ) -> Response<Full<Bytes>> {
        let media = Media::negotiate(headers, &[Media::Text, Media::Html]);
        if *method != Method::GET && *method != Method::HEAD {
            let mut response = READ_ONLY.response(method, media);
            response.headers_mut().insert(ALLOW, METHODS);
            return response;
        }
        let Some(connection) = connection else {
            return NO_VERDICT.response(method, media);
        };
        let media = Media::negotiate(headers, &[Media::Text, Media::Html, Media::Json]);
        let verdict = connection.verdict().get();
        let body = match media {
            Media::Json => json(&verdict, connection),
            Media::Text => AsText(&Facts::of(&verdict, connection)).to_string(),
            Media::Html => html(&Facts::of(&verdict, connection)),
        };
        Uncached {
            status: StatusCode::OK,
            media,
            body,
        }
        .response(method)
    }
}

impl<B> Service<Request<B>> for VerdictPage {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let connection = MultipathConnectInfo::from_extensions(request.extensions());
        ready(Ok(self.response(
            request.method(),
            request.headers(),
            connection,
        )))
    }
}

/// The body of the HTML document.
#[derive(Template)]
#[template(path = "verdict.html")]
struct VerdictHtml<'a> {
    facts: &'a Facts,
    lists: [(&'static str, &'static [&'static str]); 2],
}

fn html(facts: &Facts) -> String {
    let title = format_args!("{} · multipath TLS", facts.words.title);
    let lists = [
        ("Known to this server", &KNOWN[..]),
        ("Unknown to this server", &UNKNOWN[..]),
    ];
    Document::new(title, facts.words.tone, VerdictHtml { facts, lists }).to_string()
}

/// The JSON document; `docs/guide.md` has an example.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    seen_by: &'static str,
    client: SocketAddr,
    server: Option<SocketAddr>,
    #[serde(flatten)]
    verdict: &'a Verdict,
    meaning: String,
}

fn json(verdict: &Verdict, connection: &MultipathConnectInfo) -> String {
    let words = Words::of(&verdict.outcome);
    let report = Report {
        schema: 1,
        seen_by: "server",
        client: connection.peer(),
        server: connection.local(),
        verdict,
        meaning: format!("{} {}", words.lead, words.more),
    };
    // Strings, numbers and lists of them: nothing here can fail.
    let mut json = serde_json::to_string(&report).unwrap_or_default();
    json.push('\n');
    json
}
