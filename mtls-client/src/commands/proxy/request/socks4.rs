//! The server side of SOCKS4 and SOCKS4a, which have no standard; they are described in
//! `SOCKS: A protocol for TCP proxy across firewalls` and `SOCKS 4A`, by Ying-Da Lee.

use std::net::{IpAddr, Ipv4Addr};

use mtls_core::path::{Endpoint, EndpointError, Host};

use super::{Protocol, Request, RequestError, Step};

/// The longest user name or host name, in bytes.
const MAX_TEXT: usize = 255;

const CONNECT: u8 = 1;

const GRANTED: u8 = 90;
const REJECTED: u8 = 91;

/// A reply. Address and port are 0, because clients of CONNECT do not need them.
pub(crate) fn reply(granted: bool) -> [u8; 8] {
    let code = if granted { GRANTED } else { REJECTED };
    [0, code, 0, 0, 0, 0, 0, 0]
}

/// `VN CD DSTPORT DSTIP USERID NUL`, and in SOCKS4a `NAME NUL` for an address 0.0.0.x.
pub(super) fn proceed(received: &[u8]) -> Result<Step, RequestError> {
    let [_, command, high, low, a, b, c, d, rest @ ..] = received else {
        return Ok(Step::More);
    };
    if *command != CONNECT {
        return Err(RequestError::Socks4("a command other than CONNECT"));
    }
    // The user name is for proxies that query identd, which this one does not.
    let Some((_, rest)) = text(rest)? else {
        return Ok(Step::More);
    };
    let (host, rest) = match [*a, *b, *c, *d] {
        [0, 0, 0, low] if low != 0 => match text(rest)? {
            Some((name, rest)) => (String::from_utf8_lossy(name).parse(), rest),
            None => return Ok(Step::More),
        },
        octets => (Ok(IpAddr::from(Ipv4Addr::from(octets)).into()), rest),
    };
    Ok(Step::Tunnel(Request {
        target: target(host, u16::from_be_bytes([*high, *low]))
            .map_err(|error| RequestError::Target(error, Protocol::Socks4))?,
        protocol: Protocol::Socks4,
        rest: rest.to_vec(),
    }))
}

/// A text, and the bytes after it.
type Text<'a> = (&'a [u8], &'a [u8]);

/// Parses a text up to its NUL; `None` if it is incomplete.
fn text(bytes: &[u8]) -> Result<Option<Text<'_>>, RequestError> {
    match bytes.iter().take(MAX_TEXT + 1).position(|&byte| byte == 0) {
        Some(end) => Ok(Some((&bytes[..end], &bytes[end + 1..]))),
        None if bytes.len() > MAX_TEXT => {
            Err(RequestError::Socks4("a name of more than 255 bytes"))
        }
        None => Ok(None),
    }
}

fn target(host: Result<Host, EndpointError>, port: u16) -> Result<Endpoint, EndpointError> {
    match port {
        0 => Err(EndpointError::BadPort("0".into())),
        port => Ok(Endpoint::new(host?, port)),
    }
}
