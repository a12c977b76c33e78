//! The head of a response, as `--include` and `--head` write it.

use hyper::ext::ReasonPhrase;
use hyper::{Response, Version};

use crate::output::http_head::write_fields;

/// The status line and the header fields, as in HTTP/1.1.
pub(super) fn render<B>(response: &Response<B>) -> Vec<u8> {
    let status = response.status();
    let (version, reason) = match response.version() {
        // HTTP/2 and HTTP/3 have no reason phrase (RFC 9113, section 8.3.2), but curl writes the space.
        Version::HTTP_2 => ("HTTP/2", &b""[..]),
        Version::HTTP_3 => ("HTTP/3", &b""[..]),
        Version::HTTP_10 => ("HTTP/1.0", reason(response)),
        _ => ("HTTP/1.1", reason(response)),
    };
    let mut head = format!("{version} {} ", status.as_str()).into_bytes();
    head.extend_from_slice(reason);
    head.extend_from_slice(b"\r\n");
    write_fields(&mut head, response.headers());
    head
}

/// The reason phrase, which hyper keeps only if it is not the canonical one.
fn reason<B>(response: &Response<B>) -> &[u8] {
    match response.extensions().get::<ReasonPhrase>() {
        Some(phrase) => phrase.as_bytes(),
        None => response
            .status()
            .canonical_reason()
            .unwrap_or_default()
            .as_bytes(),
    }
}
