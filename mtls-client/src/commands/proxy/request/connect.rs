//! The head of an HTTP CONNECT request (RFC 9112, section 3.2.3; RFC 9110, section 9.3.6).
//!
//! The HTTP library parses other methods. Only the first line is read here, because the library
//! does not represent the difference between an empty path and `/`, nor a zone in a URL.

use mtls_core::path::Endpoint;

use super::{Protocol, Request, RequestError, Step};

/// The largest head of a CONNECT request, in bytes, as for plain HTTP.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

const METHOD: &[u8] = b"CONNECT ";
const END: &[u8] = b"\r\n\r\n";

/// The head of a request, which is read in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The number of bytes that have been searched for its end.
    searched: usize,
}

impl Head {
    pub(super) fn proceed(&mut self, received: &mut Vec<u8>) -> Result<Step, RequestError> {
        if !starts_connect(received) {
            let is_line = received.contains(&b'\n') || received.len() >= MAX_HEAD;
            return Ok(match is_line {
                true => Step::Http(std::mem::take(received)),
                false => Step::More,
            });
        }
        let from = self.searched.saturating_sub(END.len() - 1);
        let mut fours = received[from..].windows(END.len());
        let end = fours.position(|four| four == END).map(|at| from + at);
        self.searched = received.len();
        match end {
            Some(end) if end + END.len() <= MAX_HEAD => {
                let rest = received.split_off(end + END.len());
                request(&received[..end], rest).map(Step::Tunnel)
            }
            None if received.len() < MAX_HEAD => Ok(Step::More),
            _ => Err(RequestError::TooLong),
        }
    }
}

/// Whether these bytes may be the start of a CONNECT request.
fn starts_connect(received: &[u8]) -> bool {
    let known = received.len().min(METHOD.len());
    received[..known] == METHOD[..known]
}

fn request(head: &[u8], rest: Vec<u8>) -> Result<Request, RequestError> {
    let mut lines = lines(head);
    let line = lines.next().unwrap_or_default();
    for field in lines {
        check_field(field)?;
    }
    let line =
        std::str::from_utf8(line).map_err(|_| RequestError::Head("its first line is not UTF-8"))?;
    let mut words = line.split(' ').skip(1);
    let (Some(target), Some(version), None) = (words.next(), words.next(), words.next()) else {
        return Err(RequestError::Head(
            "its first line is not `CONNECT HOST:PORT HTTP/1.1`",
        ));
    };
    match version {
        "HTTP/1.1" | "HTTP/1.0" => {}
        _ => return Err(RequestError::Version),
    }
    let target = target.parse::<Endpoint>();
    Ok(Request {
        target: target.map_err(|error| RequestError::Target(error, Protocol::Connect))?,
        protocol: Protocol::Connect,
        rest,
    })
}

/// The lines between CR LF. A single CR or LF stays in its line, where it is refused.
fn lines(mut head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut more = true;
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        let end = head.windows(2).position(|two| two == b"\r\n");
        more = end.is_some();
        let (line, rest) = head.split_at(end.unwrap_or(head.len()));
        head = rest.get(2..).unwrap_or_default();
        Some(line)
    })
}

/// Checks a field for anything that would make the start of the tunnel ambiguous: a CONNECT request
/// has no content (RFC 9110, section 9.3.6). Bytes above 127 are opaque (RFC 9110, section 5.5).
fn check_field(field: &[u8]) -> Result<(), RequestError> {
    let colon = field.iter().position(|&c| c == b':');
    let Some((name, [_, value @ ..])) = colon.map(|colon| field.split_at(colon)) else {
        return Err(RequestError::Head("a header field has no colon"));
    };
    let token = |c: &u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.iter().all(token) {
        return Err(RequestError::Head("a header field has an invalid name"));
    }
    if value.iter().any(|c| c.is_ascii_control() && *c != b'\t') {
        return Err(RequestError::Head("a header field has a control character"));
    }
    let empty = name.eq_ignore_ascii_case(b"content-length") && value.trim_ascii() == b"0";
    let framing = [&b"content-length"[..], b"transfer-encoding"];
    if framing.iter().any(|f| name.eq_ignore_ascii_case(f)) && !empty {
        return Err(RequestError::Head("a CONNECT request has no content"));
    }
    Ok(())
}
