//! The head of an HTTP CONNECT request (RFC 9112, section 3.2.3; RFC 9110, section 9.3.6).
//!
//! Other methods are left to the HTTP library: all that is looked at here is the first word.

use mtls_core::path::Endpoint;

use super::{Protocol, Refusal, Request, Step};

/// The longest head of a CONNECT request, in bytes.
pub(crate) const MAX_HEAD: usize = 8 * 1024;

const METHOD: &[u8] = b"CONNECT ";
const END: &[u8] = b"\r\n\r\n";

pub(super) fn proceed(received: &mut Vec<u8>) -> Result<Step, Refusal> {
    let known = received.len().min(METHOD.len());
    if received[..known] != METHOD[..known] {
        return Ok(Step::Http(std::mem::take(received)));
    }
    let end = received.windows(END.len()).position(|four| four == END);
    match end {
        Some(end) if end + END.len() <= MAX_HEAD => {
            let rest = received.split_off(end + END.len());
            request(&received[..end], rest).map(Step::Tunnel)
        }
        None if received.len() < MAX_HEAD => Ok(Step::More),
        _ => Err(Refusal::TooLong),
    }
}

fn request(head: &[u8], rest: Vec<u8>) -> Result<Request, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| Refusal::Head("bytes that are no text"))?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    for field in lines {
        check_field(field)?;
    }
    let mut words = line.split(' ').skip(1);
    let (Some(target), Some(version), None) = (words.next(), words.next(), words.next()) else {
        return Err(Refusal::Head(
            "its first line is not `CONNECT HOST:PORT HTTP/1.1`",
        ));
    };
    match version {
        "HTTP/1.1" | "HTTP/1.0" => {}
        _ => return Err(Refusal::Version),
    }
    let target = target.parse::<Endpoint>();
    Ok(Request {
        target: target.map_err(|error| Refusal::Target(error, Protocol::Connect))?,
        by: Protocol::Connect,
        rest,
    })
}

/// Nothing in a field matters here, except what would make it unclear where the tunnel begins: a
/// CONNECT request has no content (RFC 9110, section 9.3.6).
fn check_field(field: &str) -> Result<(), Refusal> {
    let Some((name, value)) = field.split_once(':') else {
        return Err(Refusal::Head("a header field has no colon"));
    };
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(Refusal::Head("a header field's name is none"));
    }
    if value.bytes().any(|c| c.is_ascii_control() && c != b'\t') {
        return Err(Refusal::Head("a header field has a control character"));
    }
    let empty = name.eq_ignore_ascii_case("content-length") && value.trim() == "0";
    let framing = ["content-length", "transfer-encoding"];
    if framing.iter().any(|f| name.eq_ignore_ascii_case(f)) && !empty {
        return Err(Refusal::Head("a CONNECT request has no content"));
    }
    Ok(())
}
