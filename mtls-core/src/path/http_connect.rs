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
    let head = read_head(stream).await?;
    match status(&head)? {
        // A 2xx response to CONNECT has no body, also with `Content-Length` (RFC 9110, section
        // 9.3.6).
        200..=299 => Ok(()),
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
async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyRefusal> {
    let mut head = Vec::with_capacity(256);
    let mut buffer = vec![0; MAX_HTTP_HEAD];
    loop {
        let room = MAX_HTTP_HEAD - head.len();
        if room == 0 {
            return Err(ProxyRefusal::TooLong(MAX_HTTP_HEAD));
        }
        let seen = stream.peek(&mut buffer[..room]).await?;
        if seen == 0 {
            return Err(ProxyRefusal::Closed);
        }
        let known = head.len();
        head.extend_from_slice(&buffer[..seen]);
        let end = head_end(&head, known);
        let taken = end.map_or(seen, |end| end - known);
        stream.read_exact(&mut buffer[..taken]).await?;
        if let Some(end) = end {
            head.truncate(end);
            return Ok(head);
        }
        if not_http(&head) {
            return Err(ProxyRefusal::Malformed("not HTTP/1"));
        }
    }
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
