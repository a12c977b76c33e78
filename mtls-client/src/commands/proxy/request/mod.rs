//! The first request of a client: SOCKS4, SOCKS5 or HTTP, distinguished by the first byte.
//!
//! Without I/O: bytes in, steps out.

mod connect;
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) mod fuzzing;
mod socks;
mod socks4;
#[cfg(test)]
mod tests;

use std::fmt;

use mtls_core::path::{Endpoint, EndpointError};

use self::connect::Head;
use self::socks::Socks;

pub(crate) use self::connect::MAX_HEAD;
pub(crate) use self::socks::{SocksReply, reply as socks_reply};
pub(crate) use self::socks4::reply as socks4_reply;

/// Parses the first bytes of a client, up to its request.
///
/// Buffers at most [`MAX_HEAD`] bytes, plus the bytes of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestReader {
    received: Vec<u8>,
    socks: Socks,
    connect: Head,
}

/// The next step of the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read more bytes.
    More,
    /// Write this, then call [`RequestReader::proceed`].
    Reply([u8; 2]),
    /// Open this tunnel.
    Tunnel(Request),
    /// Serve HTTP: the request is not CONNECT, and starts with these bytes.
    Http(Vec<u8>),
}

/// A request for a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) target: Endpoint,
    pub(crate) protocol: Protocol,
    /// The bytes after the request.
    pub(crate) rest: Vec<u8>,
}

/// The protocol between client and proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Connect,
    /// SOCKS4, and SOCKS4a with names.
    Socks4,
    Socks5,
    /// A plain HTTP request with an absolute URL.
    PlainHttp,
}

/// The reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// The first byte does not start any of the protocols.
    Unknown(u8),
    /// SOCKS4: a malformed or unsupported request.
    Socks4(&'static str),
    /// TLS to the proxy itself.
    Tls,
    /// SOCKS5: the client offers only methods with credentials.
    NoMethod,
    /// SOCKS5: a command other than CONNECT.
    Command(u8),
    /// SOCKS5: an address type that RFC 1928 does not define.
    AddressType(u8),
    /// SOCKS5: a field with an invalid value.
    Malformed(&'static str),
    /// HTTP: the head is longer than [`MAX_HEAD`].
    TooLong,
    /// HTTP: the head is malformed.
    Head(&'static str),
    /// HTTP: neither 1.0 nor 1.1.
    Version,
    /// The target is invalid.
    Target(EndpointError, Protocol),
}

const SOCKS5: u8 = 5;
const SOCKS4: u8 = 4;
const TLS_HANDSHAKE: u8 = 22;

impl RequestReader {
    /// Handles bytes that were read.
    pub(crate) fn handle(&mut self, bytes: &[u8]) -> Result<Step, RequestError> {
        self.received.extend_from_slice(bytes);
        self.proceed()
    }

    /// Handles the bytes that are buffered.
    pub(crate) fn proceed(&mut self) -> Result<Step, RequestError> {
        if !self.socks.has_greeted() {
            self.skip_empty_lines();
        }
        match self.received.first() {
            None => Ok(Step::More),
            Some(&SOCKS5) => self.socks.proceed(&mut self.received),
            Some(_) if self.socks.has_greeted() => {
                Err(RequestError::Malformed("a request of another version"))
            }
            Some(&SOCKS4) => socks4::proceed(&self.received),
            Some(&TLS_HANDSHAKE) => Err(RequestError::Tls),
            Some(b'\r') if self.received.len() == 1 => Ok(Step::More),
            Some(first) if first.is_ascii_alphabetic() => self.connect.proceed(&mut self.received),
            Some(&other) => Err(RequestError::Unknown(other)),
        }
    }

    /// Some clients send empty lines before a request (RFC 9112, section 2.2).
    fn skip_empty_lines(&mut self) {
        let pairs = self.received.chunks(2);
        let empty = pairs.take_while(|pair| pair == b"\r\n").count();
        self.received.drain(..2 * empty);
    }
}

impl Protocol {
    /// For people and programs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "http-connect",
            Self::Socks4 => "socks4",
            Self::Socks5 => "socks5",
            Self::PlainHttp => "plain-http",
        }
    }
}

impl RequestError {
    /// The reply in the client's protocol; empty if that is unknown.
    pub(crate) fn reply(&self) -> Vec<u8> {
        match self {
            Self::Unknown(_) | Self::Tls => Vec::new(),
            Self::Socks4(_) | Self::Target(_, Protocol::Socks4) => socks4_reply(false).to_vec(),
            Self::NoMethod => vec![SOCKS5, 0xff],
            Self::Command(_) => socks5_reply(SocksReply::CommandNotSupported),
            Self::AddressType(_) => socks5_reply(SocksReply::AddressTypeNotSupported),
            Self::Malformed(_) | Self::Target(_, Protocol::Socks5) => {
                socks5_reply(SocksReply::Failure)
            }
            Self::TooLong => self.http(431, "Request Header Fields Too Large"),
            Self::Version => self.http(505, "HTTP Version Not Supported"),
            Self::Head(_) | Self::Target(..) => self.http(400, "Bad Request"),
        }
    }

    fn http(&self, status: u16, phrase: &str) -> Vec<u8> {
        http_error(status, phrase, &self.to_string())
    }
}

fn socks5_reply(code: SocksReply) -> Vec<u8> {
    socks_reply(code).to_vec()
}

/// A whole HTTP error response, after which the connection closes.
pub(crate) fn http_error(status: u16, phrase: &str, text: &str) -> Vec<u8> {
    let body = format!("mtls-client proxy: {text}\n");
    format!(
        "HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(byte) => write!(
                f,
                "unknown protocol: the first byte is {byte:#04x}, which is neither HTTP nor SOCKS"
            ),
            Self::Socks4(what) => write!(f, "invalid SOCKS4 request: {what}"),
            Self::Tls => f.write_str(
                "unexpected TLS: clients connect to the proxy without TLS; write http:// instead of \
                 https:// before its address",
            ),
            Self::NoMethod => f.write_str(
                "invalid SOCKS5 request: the client requires credentials, which this proxy does not \
                 support; remove them",
            ),
            Self::Command(code) => write!(
                f,
                "invalid SOCKS5 request: command {code} is not supported, only CONNECT (1), so no UDP \
                 and no QUIC"
            ),
            Self::AddressType(kind) => write!(f, "invalid SOCKS5 request: unknown address type {kind}"),
            Self::Malformed(what) => write!(f, "invalid SOCKS5 request: {what}"),
            Self::TooLong => write!(f, "the head of the request is longer than {MAX_HEAD} bytes"),
            Self::Head(what) => write!(f, "not an HTTP request: {what}"),
            Self::Version => f.write_str("unsupported HTTP version: only HTTP/1.0 and HTTP/1.1 are supported"),
            Self::Target(error, _) => error.fmt(f),
        }
    }
}
