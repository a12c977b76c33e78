//! Why a request or an answer was refused, for people and for programs.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::verdict::{Outcome, Verdict};

/// A connection was not verified where that is demanded.
#[derive(Clone, Debug)]
pub struct NotVerified {
    verdict: Option<Box<Verdict>>,
}

/// The explanation as JSON.
#[derive(Serialize)]
struct Explanation<'a> {
    status: u16,
    error: &'static str,
    verdict: &'static str,
    reason: Option<&'a str>,
    detail: String,
}

impl NotVerified {
    pub(super) fn new(verdict: Option<Verdict>) -> Self {
        Self {
            verdict: verdict.map(Box::new),
        }
    }

    /// The verdict on the connection; `None` where there was none, as for plain HTTP.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_deref()
    }

    /// 421 Misdirected Request (RFC 9110, section 15.5.20): the client may try again over another
    /// connection.
    pub(super) fn response(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let (kind, body) = match prefers_json(headers) {
            true => ("application/json", self.json()),
            false => ("text/plain; charset=utf-8", format!("{self}\n")),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        fields.insert(VARY, HeaderValue::from_static("accept"));
        // The next connection may be verified.
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn json(&self) -> String {
        let outcome = self.verdict().map(|verdict| &verdict.outcome);
        let explanation = Explanation {
            status: StatusCode::MISDIRECTED_REQUEST.as_u16(),
            error: "connection-not-verified",
            verdict: outcome.map_or("unverified", Outcome::as_str),
            reason: outcome.and_then(Outcome::reason),
            detail: self.to_string(),
        };
        // Strings and a number: nothing here can fail.
        serde_json::to_string(&explanation).unwrap_or_default()
    }
}

impl fmt::Display for NotVerified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this connection is not verified by multipath TLS")?;
        match self.verdict().map(|verdict| &verdict.outcome) {
            Some(Outcome::Unverified(reason)) => write!(f, ": {reason}")?,
            Some(Outcome::Intercepted(reason)) => write!(f, ": {reason}")?,
            Some(Outcome::Verified(_)) | None => {}
        }
        f.write_str("; connect with a side path that reaches the server, and try again")
    }
}

impl std::error::Error for NotVerified {}

/// JSON only where the client likes it better than plain text (RFC 9110, section 11.5.1).
fn prefers_json(headers: &HeaderMap) -> bool {
    let accept = || {
        let fields = headers.get_all(ACCEPT).iter();
        fields.filter_map(|field| field.to_str().ok())
    };
    weight(accept(), "application", "json") > weight(accept(), "text", "plain")
}

/// The weight of a media type: what the most specific range that covers it says. 0 when none does.
fn weight<'a>(fields: impl Iterator<Item = &'a str>, kind: &str, subtype: &str) -> f32 {
    let ranges = fields.flat_map(|field| field.split(','));
    let specific = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (left, right) = parts.next()?.split_once('/')?;
        let specificity = match (left, right) {
            (left, right)
                if left.eq_ignore_ascii_case(kind) && right.eq_ignore_ascii_case(subtype) =>
            {
                2
            }
            (left, "*") if left.eq_ignore_ascii_case(kind) => 1,
            ("*", "*") => 0,
            _ => return None,
        };
        Some((specificity, parts.find_map(quality).unwrap_or(1.0)))
    });
    specific
        .max_by_key(|(specificity, _)| *specificity)
        .map_or(0.0, |(_, quality)| quality)
}

fn quality(parameter: &str) -> Option<f32> {
    let (name, value) = parameter.split_once('=')?;
    let quality = value.trim().parse::<f32>().ok()?;
    name.trim().eq_ignore_ascii_case("q").then_some(quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_like_it_better() {
        for (accept, json) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            ("Application/JSON", true),
            ("application/*", true),
            ("text/html, */*;q=0.8", false),
            ("application/json, text/plain", false),
            ("application/json, text/plain;q=0.9", true),
            ("application/json;q=0.2, */*", false),
            ("application/json;q=0", false),
            ("text/plain;q=0.1, application/*;q=0.5", true),
            (
                "application/json; charset=utf-8 ; Q = 0.5, text/*;q=0.4",
                true,
            ),
            ("nonsense, /, ;q=", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(prefers_json(&headers), json, "{accept:?}");
        }
    }

    #[test]
    fn several_accept_fields_count_as_one() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("text/plain;q=0.3"));
        headers.append(ACCEPT, HeaderValue::from_static("application/json"));
        assert!(prefers_json(&headers));
    }
}
