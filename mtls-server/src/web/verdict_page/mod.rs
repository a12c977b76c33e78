//! `/.multipath`: what the server knows of the connection that asks, for people, for programs and
//! for terminals.

mod facts;
mod html;
mod text;
mod words;

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, ALLOW, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};
use mtls_core::Verdict;
use serde::Serialize;

use self::facts::Facts;
use self::html::AsHtml;
use self::text::AsText;
use super::Peer;
use super::html::Page;
use super::media::Media;
use super::pages::{Fresh, Problem};

/// Where the page is.
pub(crate) const PATH: &str = "/.multipath";

const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD");
const ONLY_READ: Problem<&str> = Problem {
    status: StatusCode::METHOD_NOT_ALLOWED,
    text: "This page can only be read: use GET or HEAD.",
};

/// The answer to a request for [`PATH`].
pub(crate) fn answer(method: &Method, headers: &HeaderMap, peer: &Peer) -> Response<Full<Bytes>> {
    let accept = headers.get_all(ACCEPT);
    if *method != Method::GET && *method != Method::HEAD {
        let media = Media::choose(accept, &[Media::Text, Media::Html]);
        let mut response = ONLY_READ.response(method, media);
        response.headers_mut().insert(ALLOW, METHODS);
        return response;
    }
    let verdict = peer.verdict.get();
    let media = Media::choose(accept, &[Media::Text, Media::Html, Media::Json]);
    let body = match media {
        Media::Json => json(&verdict, peer),
        Media::Text => AsText(&Facts::of(&verdict, peer)).to_string(),
        Media::Html => page(&Facts::of(&verdict, peer)),
    };
    Fresh {
        status: StatusCode::OK,
        media,
        body,
    }
    .response(method)
}

fn page(facts: &Facts) -> String {
    let page = Page {
        title: format_args!("{} · multipath TLS", facts.words.title),
        tone: facts.words.tone,
        body: AsHtml(facts),
    };
    page.to_string()
}

/// What programs get; `docs/guide.md` has an example.
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

fn json(verdict: &Verdict, peer: &Peer) -> String {
    let words = words::Words::of(&verdict.outcome);
    let report = Report {
        schema: 1,
        seen_by: "server",
        client: peer.address,
        server: peer.local,
        verdict,
        meaning: format!("{} {}", words.lead, words.more),
    };
    // Strings, numbers and lists of them: nothing here can fail.
    let mut json = serde_json::to_string(&report).unwrap_or_default();
    json.push('\n');
    json
}
