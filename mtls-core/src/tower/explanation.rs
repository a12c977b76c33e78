//! The explanation of a refused request or response, as text and as JSON.

use std::fmt;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::media::Media;
use crate::verdict::{Outcome, Verdict};

/// The error for a connection that is not verified although [`RequireVerified`](super::RequireVerified)
/// requires it.
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
        let media = Media::negotiate(headers, &[Media::Text, Media::Json]);
        let body = match media {
            Media::Json => self.json(),
            Media::Text | Media::Html => format!("{self}\n"),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
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
            Some(Outcome::Unverified(reason) | Outcome::Pinned(reason)) => {
                write!(f, ": {reason}")?;
            }
            Some(Outcome::Intercepted(reason)) => write!(f, ": {reason}")?,
            Some(Outcome::Verified(_)) | None => {}
        }
        f.write_str("; connect with a side path that reaches the server, and try again")
    }
}

impl std::error::Error for NotVerified {}
