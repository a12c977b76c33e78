//! The first request of a client of the proxy: SOCKS4, SOCKS5 or HTTP, known by the first byte.
//!
//! Without I/O: bytes in, steps out.

mod connect;
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

/// Reads a client's first bytes until it is clear what it wants.
///
/// At most [`MAX_HEAD`] bytes are kept, and what the caller hands over at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reception {
    received: Vec<u8>,
    socks: Socks,
    connect: Head,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read more.
    More,
    /// Write this, then [`Reception::proceed`].
    Answer([u8; 2]),
    /// Connect to this.
    Tunnel(Request),
    /// It is another HTTP request than CONNECT: these bytes are its beginning.
    Http(Vec<u8>),
}

/// A tunnel that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) target: Endpoint,
    pub(crate) by: Protocol,
    /// What came after the request.
    pub(crate) rest: Vec<u8>,
}

/// How a client speaks to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Connect,
    /// With or without remote names (SOCKS4a).
    Socks4,
    Socks5,
    /// A plain HTTP request with an absolute URL.
    PlainHttp,
}

/// Why there is no request to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The first byte begins neither protocol.
    Unknown(u8),
    /// SOCKS4: a request that is none, or none that this proxy knows.
    Socks4(&'static str),
    /// TLS to the proxy itself.
    Tls,
    /// SOCKS5: no method that needs no credentials is on offer.
    NoMethod,
    /// SOCKS5: a command other than CONNECT.
    Command(u8),
    /// SOCKS5: an address type that RFC 1928 does not know.
    AddressType(u8),
    /// SOCKS5: a field that has another value than it must.
    Malformed(&'static str),
    /// HTTP: the head is longer than [`MAX_HEAD`].
    TooLong,
    /// HTTP: the head is none.
    Head(&'static str),
    /// HTTP: neither 1.0 nor 1.1.
    Version,
    /// The target is none.
    Target(EndpointError, Protocol),
}

const SOCKS5: u8 = 5;
const SOCKS4: u8 = 4;
const TLS_HANDSHAKE: u8 = 22;

impl Reception {
    /// Takes what was read.
    pub(crate) fn handle(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        self.received.extend_from_slice(bytes);
        self.proceed()
    }

    /// What to do with the bytes that are here.
    pub(crate) fn proceed(&mut self) -> Result<Step, Refusal> {
        if !self.socks.has_greeted() {
            self.skip_empty_lines();
        }
        match self.received.first() {
            None => Ok(Step::More),
            Some(&SOCKS5) => self.socks.proceed(&mut self.received),
            Some(_) if self.socks.has_greeted() => {
                Err(Refusal::Malformed("a request of another version"))
            }
            Some(&SOCKS4) => socks4::proceed(&self.received),
            Some(&TLS_HANDSHAKE) => Err(Refusal::Tls),
            Some(b'\r') if self.received.len() == 1 => Ok(Step::More),
            Some(first) if first.is_ascii_alphabetic() => self.connect.proceed(&mut self.received),
            Some(&other) => Err(Refusal::Unknown(other)),
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

impl Refusal {
    /// The client is told so, in its own protocol; nothing where it would not understand.
    pub(crate) fn answer(&self) -> Vec<u8> {
        match self {
            Self::Unknown(_) | Self::Tls => Vec::new(),
            Self::Socks4(_) | Self::Target(_, Protocol::Socks4) => socks4_reply(false).to_vec(),
            Self::NoMethod => vec![SOCKS5, 0xff],
            Self::Command(_) => reply(SocksReply::CommandNotSupported),
            Self::AddressType(_) => reply(SocksReply::AddressTypeNotSupported),
            Self::Malformed(_) | Self::Target(_, Protocol::Socks5) => reply(SocksReply::Failure),
            Self::TooLong => self.page(431, "Request Header Fields Too Large"),
            Self::Version => self.page(505, "HTTP Version Not Supported"),
            Self::Head(_) | Self::Target(..) => self.page(400, "Bad Request"),
        }
    }

    fn page(&self, status: u16, phrase: &str) -> Vec<u8> {
        http_refusal(status, phrase, &self.to_string())
    }
}

fn reply(code: SocksReply) -> Vec<u8> {
    socks_reply(code).to_vec()
}

/// A whole HTTP response that refuses, and after which the connection closes.
pub(crate) fn http_refusal(status: u16, phrase: &str, text: &str) -> Vec<u8> {
    let body = format!("mtls-client proxy: {text}\n");
    format!(
        "HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(byte) => write!(
                f,
                "a client began with the byte {byte:#04x}, which is neither HTTP nor SOCKS"
            ),
            Self::Socks4(what) => write!(f, "a SOCKS4 client sent {what}"),
            Self::Tls => f.write_str(
                "a client speaks TLS to the proxy itself; write http:// and not https:// before \
                 the proxy's address",
            ),
            Self::NoMethod => f.write_str(
                "a SOCKS5 client insists on credentials, and this proxy takes none; take them out",
            ),
            Self::Command(code) => write!(
                f,
                "a SOCKS5 client asks for command {code}; this proxy knows CONNECT (1) alone, so \
                 no UDP and no QUIC"
            ),
            Self::AddressType(kind) => write!(f, "a SOCKS5 client sent the address type {kind}"),
            Self::Malformed(what) => write!(f, "a SOCKS5 client sent {what}"),
            Self::TooLong => write!(f, "the request's head is longer than {MAX_HEAD} bytes"),
            Self::Head(what) => write!(f, "not an HTTP request: {what}"),
            Self::Version => f.write_str("only HTTP/1.0 and HTTP/1.1 are spoken to this proxy"),
            Self::Target(error, _) => error.fmt(f),
        }
    }
}
