//! The head of an HTTP CONNECT request (RFC 9112, section 3.2.3; RFC 9110, section 9.3.6).
//!
//! Other methods are left to the HTTP library: all that is read here is the first word, and the
//! first line of OPTIONS, because the library does not tell an empty path from `/`.

use mtls_core::path::Endpoint;

use super::{Protocol, Refusal, Request, Step};

/// The longest head of a CONNECT request, in bytes: as long as one of plain HTTP.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

const METHOD: &[u8] = b"CONNECT ";
const OPTIONS: &[u8] = b"OPTIONS ";
const END: &[u8] = b"\r\n\r\n";

/// The head of a request, as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// How many bytes were searched for its end.
    searched: usize,
}

impl Head {
    pub(super) fn proceed(&mut self, received: &mut Vec<u8>) -> Result<Step, Refusal> {
        if begins(received, OPTIONS) && !received.contains(&b'\n') && received.len() < MAX_HEAD {
            return Ok(Step::More);
        }
        if !begins(received, METHOD) {
            return Ok(Step::Http(std::mem::take(received)));
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
            _ => Err(Refusal::TooLong),
        }
    }
}

/// Whether these bytes are the beginning of a request with this method, as far as they go.
fn begins(received: &[u8], method: &[u8]) -> bool {
    let known = received.len().min(method.len());
    received[..known] == method[..known]
}

fn request(head: &[u8], rest: Vec<u8>) -> Result<Request, Refusal> {
    let mut lines = lines(head);
    let line = lines.next().unwrap_or_default();
    for field in lines {
        check_field(field)?;
    }
    let line = std::str::from_utf8(line)
        .map_err(|_| Refusal::Head("its first line has bytes that are no text"))?;
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

/// The lines between CR LF. A CR or LF alone stays in its line, and is refused there.
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

/// Nothing in a field matters here, except what would make it unclear where the tunnel begins: a
/// CONNECT request has no content (RFC 9110, section 9.3.6). Bytes above 127 are opaque (RFC 9110,
/// section 5.5).
fn check_field(field: &[u8]) -> Result<(), Refusal> {
    let colon = field.iter().position(|&c| c == b':');
    let Some((name, [_, value @ ..])) = colon.map(|colon| field.split_at(colon)) else {
        return Err(Refusal::Head("a header field has no colon"));
    };
    let token = |c: &u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.iter().all(token) {
        return Err(Refusal::Head("a header field's name is none"));
    }
    if value.iter().any(|c| c.is_ascii_control() && *c != b'\t') {
        return Err(Refusal::Head("a header field has a control character"));
    }
    let empty = name.eq_ignore_ascii_case(b"content-length") && value.trim_ascii() == b"0";
    let framing = [&b"content-length"[..], b"transfer-encoding"];
    if framing.iter().any(|f| name.eq_ignore_ascii_case(f)) && !empty {
        return Err(Refusal::Head("a CONNECT request has no content"));
    }
    Ok(())
}
