//! Compression of responses.

use hyper::body::Body;
use hyper::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use tower_http::compression::Predicate;
use tower_http::compression::predicate::SizeAbove;

/// The smallest size in bytes that compression reduces.
const LEAST: u64 = 1024;

/// Selects text that is long enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompressText {
    /// Whether to compress at all.
    pub(crate) enabled: bool,
}

impl Predicate for CompressText {
    fn should_compress<B: Body>(&self, response: &Response<B>) -> bool {
        self.enabled
            && response.status() == StatusCode::OK
            && is_text(response.headers())
            && SizeAbove::new(LEAST).should_compress(response)
    }
}

/// Whether the media type is text that is not compressed already.
fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
    else {
        return false;
    };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    let Some((kind, subtype)) = kind.split_once('/') else {
        return false;
    };
    match (kind, subtype) {
        // Its events must arrive one by one.
        ("text", "event-stream") => false,
        ("text", _) => true,
        ("application", "json" | "javascript" | "xml" | "wasm" | "x-ndjson" | "x-sh") => true,
        (_, subtype) => subtype.ends_with("+json") || subtype.ends_with("+xml"),
    }
}

/// Makes the entity tag of a response weak if the server compressed the file: a strong tag of the file
/// would promise the bytes of the file (RFC 9110, section 8.8.1).
pub(crate) fn weaken_etag<B>(response: &mut Response<B>) {
    let fields = response.headers();
    let Some(tag) = fields.get(ETAG) else { return };
    // Compression removes the field; a file that was stored compressed keeps it.
    let compressed = fields.contains_key(CONTENT_ENCODING) && !fields.contains_key(ACCEPT_RANGES);
    let weak = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat());
    if let (StatusCode::OK, true, Ok(weak)) = (response.status(), compressed, weak) {
        response.headers_mut().insert(ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compressed_and_what_is_compressed_already_is_not() {
        let mut headers = HeaderMap::new();
        assert!(!is_text(&headers));
        for (kind, text) in [
            ("text/html; charset=utf-8", true),
            ("Text/CSS", true),
            ("application/json", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("application/manifest+json", true),
            ("text/event-stream", false),
            ("image/png", false),
            ("video/mp4", false),
            ("application/gzip", false),
            ("application/octet-stream", false),
            ("nonsense", false),
        ] {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_text(&headers), text, "{kind}");
        }
    }

    fn tag_after(status: StatusCode, fields: &[(&str, &str)]) -> String {
        let mut response = Response::builder().status(status).header(ETAG, "\"x\"");
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let mut response = response.body(()).expect("a response");
        weaken_etag(&mut response);
        response.headers()[ETAG].to_str().expect("ASCII").to_owned()
    }

    #[test]
    fn a_tag_is_weak_where_the_bytes_are_not_the_files() {
        let gzip = ("content-encoding", "gzip");
        let ranges = ("accept-ranges", "bytes");
        let ok = StatusCode::OK;
        assert_eq!(tag_after(ok, &[gzip]), "W/\"x\"");
        assert_eq!(tag_after(ok, &[ranges]), "\"x\"");
        assert_eq!(tag_after(ok, &[gzip, ranges]), "\"x\"");
        assert_eq!(tag_after(StatusCode::PARTIAL_CONTENT, &[gzip]), "\"x\"");
    }
}
