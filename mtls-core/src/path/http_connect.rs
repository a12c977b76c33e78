//! CONNECT to an HTTP proxy, the client's side (RFC 9110, section 9.3.6; RFC 9112).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::error::ProxyRefusal;

/// The longest head of an answer that is read, in bytes.
pub(super) const MAX_HTTP_HEAD: usize = 8 * 1024;

/// Asks for a connection to `target`. Reads the answer's head and not a byte more: what follows
/// is the target's.
pub(super) async fn connect(
    stream: &mut TcpStream,
    target: &Endpoint,
    credentials: Option<&Credentials>,
) -> Result<(), ProxyRefusal> {
    stream
        .write_all(request(target, credentials).as_bytes())
        .await?;
    accepted(&read_head(stream).await?).map(drop)
}

/// The status, if it is that of a tunnel. A 2xx response to CONNECT has no body, also with
/// `Content-Length` (RFC 9110, section 9.3.6).
fn accepted(head: &Head) -> Result<u16, ProxyRefusal> {
    match status(&head.bytes)? {
        code @ 200..=299 => Ok(code),
        code => Err(ProxyRefusal::HttpStatus(code)),
    }
}

fn request(target: &Endpoint, credentials: Option<&Credentials>) -> Zeroizing<String> {
    let authorization = credentials.map(Credentials::basic);
    let authorization = match &authorization {
        Some(value) => Zeroizing::new(format!("Proxy-Authorization: {}\r\n", value.as_str())),
        None => Zeroizing::default(),
    };
    Zeroizing::new(format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
        authorization.as_str()
    ))
}

/// Reads up to the blank line. Looks before it reads, so as to leave what follows in the socket.
async fn read_head(stream: &mut TcpStream) -> Result<Head, ProxyRefusal> {
    let mut head = Head::default();
    let mut buffer = vec![0; MAX_HTTP_HEAD];
    loop {
        let room = head.room()?;
        let seen = stream.peek(&mut buffer[..room]).await?;
        let taken = head.handle(&buffer[..seen])?;
        stream.read_exact(&mut buffer[..taken]).await?;
        if head.is_complete {
            return Ok(head);
        }
    }
}

/// The head of an answer, as far as it has arrived.
#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
    is_complete: bool,
}

impl Head {
    /// The number of bytes that it may still have.
    fn room(&self) -> Result<usize, ProxyRefusal> {
        match MAX_HTTP_HEAD - self.bytes.len() {
            0 => Err(ProxyRefusal::TooLong(MAX_HTTP_HEAD)),
            room => Ok(room),
        }
    }

    /// Takes bytes, not more than there is room for; returns the number of those that belong to it.
    fn handle(&mut self, seen: &[u8]) -> Result<usize, ProxyRefusal> {
        if seen.is_empty() {
            return Err(ProxyRefusal::Closed);
        }
        let known = self.bytes.len();
        self.bytes.extend_from_slice(seen);
        if let Some(end) = head_end(&self.bytes, known) {
            self.bytes.truncate(end);
            self.is_complete = true;
        } else if not_http(&self.bytes) {
            return Err(ProxyRefusal::Malformed("not HTTP/1"));
        }
        Ok(self.bytes.len() - known)
    }
}

/// The status of an answer that arrives in pieces of this size, and the length of its head.
#[cfg(any(test, feature = "__fuzzing"))]
pub(super) fn parse_pieces(
    mut received: &[u8],
    piece: usize,
) -> Result<(u16, usize), ProxyRefusal> {
    let mut head = Head::default();
    while !head.is_complete {
        let seen = received.len().min(piece).min(head.room()?);
        let taken = head.handle(&received[..seen])?;
        received = &received[taken..];
    }
    Ok((accepted(&head)?, head.bytes.len()))
}

/// The end of the blank line, if it has arrived; the first `known` bytes were searched before.
fn head_end(head: &[u8], known: usize) -> Option<usize> {
    let from = known.saturating_sub(3);
    let at = head[from..]
        .windows(4)
        .position(|window| window == b"\r\n\r\n")?;
    Some(from + at + 4)
}

/// So that another protocol's silence is not waited for.
fn not_http(head: &[u8]) -> bool {
    let expected = b"HTTP/1.";
    let len = head.len().min(expected.len());
    head[..len] != expected[..len]
}

/// The code of `HTTP/1.x CODE REASON` (RFC 9112, section 4).
fn status(head: &[u8]) -> Result<u16, ProxyRefusal> {
    match head {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            b'0' | b'1',
            b' ',
            a,
            b,
            c,
            after,
            ..,
        ] if [a, b, c].iter().all(|digit| digit.is_ascii_digit())
            && matches!(after, b' ' | b'\r') =>
        {
            let digits = [a, b, c].map(|digit| u16::from(digit - b'0'));
            Ok(digits.iter().fold(0, |code, digit| code * 10 + digit))
        }
        _ => Err(ProxyRefusal::Malformed("no HTTP/1 status line")),
    }
}
