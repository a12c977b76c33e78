//! The part of a proxy in plain HTTP messages: `Via` and `Max-Forwards` (RFC 9110, section 7.6),
//! and the requests that this limits to the proxy itself.

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Version};

use super::response::{Body, full};
use crate::output::http_head::write_fields;

const MAX_FORWARDS: HeaderName = HeaderName::from_static("max-forwards");

/// Fields that a response to TRACE leaves out (RFC 9110, section 9.3.8).
const SECRETS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
];

/// Adds `Via` with the version in which the message was received.
pub(super) fn add_via(fields: &mut HeaderMap, version: Version) {
    let via = match version {
        Version::HTTP_10 => "1.0 mtls-client",
        _ => "1.1 mtls-client",
    };
    fields.append(header::VIA, HeaderValue::from_static(via));
}

/// Whether a message has a transfer coding besides one `chunked` (RFC 9112, section 7). It belongs to
/// one connection, and this proxy does not decode it.
pub(super) fn has_transfer_coding(fields: &HeaderMap) -> bool {
    let values = fields.get_all(header::TRANSFER_ENCODING).iter();
    let values: Vec<_> = values.map(HeaderValue::as_bytes).collect();
    let values = values.join(&b',').to_ascii_lowercase();
    let codings = values.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut codings = codings.filter(|coding| !matches!(*coding, b"" | b"identity"));
    codings.next().is_some_and(|coding| coding != b"chunked") || codings.next().is_some()
}

/// Whether the request ends here: `Max-Forwards` of OPTIONS or TRACE is 0. Otherwise decrements it.
pub(super) fn ends_here<B>(request: &mut Request<B>) -> bool {
    if !matches!(*request.method(), Method::OPTIONS | Method::TRACE) {
        return false;
    }
    let fields = request.headers_mut();
    match fields.get(MAX_FORWARDS).and_then(forwards) {
        Some(0) => true,
        Some(count) => {
            fields.insert(MAX_FORWARDS, HeaderValue::from(count - 1));
            false
        }
        None => false,
    }
}

/// Parses a number of any length, at most the largest `u32`.
fn forwards(value: &HeaderValue) -> Option<u32> {
    let digits = value.to_str().ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u32::MAX))
}

/// The response to a request that ends here.
pub(super) fn respond(request: &Request<Incoming>) -> Response<Body> {
    if *request.method() != Method::TRACE {
        let mut response = Response::new(full(""));
        let methods = HeaderValue::from_static("GET, HEAD, OPTIONS, CONNECT, TRACE");
        response.headers_mut().insert(header::ALLOW, methods);
        return response;
    }
    let mut response = Response::new(full(received(request)));
    let kind = HeaderValue::from_static("message/http");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The head of a request, as it was received.
fn received(request: &Request<Incoming>) -> Vec<u8> {
    let (method, target, version) = (request.method(), request.uri(), request.version());
    let mut head = format!("{method} {target} {version:?}\r\n").into_bytes();
    let fields = request.headers().iter();
    write_fields(
        &mut head,
        fields.filter(|(name, _)| !SECRETS.contains(name)),
    );
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(method: Method, value: &str) -> (bool, String) {
        let mut request = Request::new(());
        *request.method_mut() = method;
        let value = value.parse().unwrap();
        request.headers_mut().insert(MAX_FORWARDS, value);
        let ends = ends_here(&mut request);
        let value = request.headers()[MAX_FORWARDS].to_str().unwrap();
        (ends, value.to_owned())
    }

    #[test]
    fn max_forwards_is_decremented_for_options_and_trace_only() {
        for method in [Method::OPTIONS, Method::TRACE] {
            for (value, ends, expected) in [
                ("0", true, "0"),
                ("000", true, "000"),
                ("1", false, "0"),
                ("10", false, "9"),
                ("99999999999999999999", false, "4294967294"),
                ("-1", false, "-1"),
                ("+1", false, "+1"),
                ("x", false, "x"),
            ] {
                let counted = counted(method.clone(), value);
                assert_eq!(counted, (ends, expected.to_owned()), "{method} {value}");
            }
        }
        assert_eq!(counted(Method::GET, "0"), (false, "0".to_owned()));
    }

    #[test]
    fn one_chunked_is_the_only_transfer_coding_that_is_decoded() {
        for (values, expected) in [
            (&[][..], false),
            (&["chunked"], false),
            (&["Chunked"], false),
            (&["identity", " chunked , "], false),
            (&["gzip, chunked"], true),
            (&["gzip", "chunked"], true),
            (&["chunked, chunked"], true),
            (&["chunked", "CHUNKED"], true),
            (&["xchunked"], true),
        ] {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(header::TRANSFER_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(has_transfer_coding(&fields), expected, "{values:?}");
        }
    }
}
