//! Heads of HTTP/1.1 messages as text.

use hyper::header::{HeaderName, HeaderValue};

/// Writes the header fields, and the empty line that ends the head.
pub(crate) fn write_fields<'a>(
    head: &mut Vec<u8>,
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) {
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
}
