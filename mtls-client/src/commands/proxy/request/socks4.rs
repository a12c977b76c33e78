//! SOCKS4 and SOCKS4a as a server speaks them. Neither has a standard; both are described in
//! `SOCKS: A protocol for TCP proxy across firewalls` and `SOCKS 4A`, by Ying-Da Lee.

use std::net::{IpAddr, Ipv4Addr};

use mtls_core::path::{Endpoint, EndpointError, Host};

use super::{Protocol, Refusal, Request, Step};

/// The longest user name or host name that is taken, in bytes.
const MAX_TEXT: usize = 255;

const CONNECT: u8 = 1;

const GRANTED: u8 = 90;
const REJECTED: u8 = 91;

/// A reply; address and port are left open, which no client of CONNECT needs.
pub(crate) fn reply(granted: bool) -> [u8; 8] {
    let code = if granted { GRANTED } else { REJECTED };
    [0, code, 0, 0, 0, 0, 0, 0]
}

/// `VN CD DSTPORT DSTIP USERID NUL`, and in SOCKS4a `NAME NUL` for an address 0.0.0.x.
pub(super) fn proceed(received: &[u8]) -> Result<Step, Refusal> {
    let [_, command, high, low, a, b, c, d, rest @ ..] = received else {
        return Ok(Step::More);
    };
    if *command != CONNECT {
        return Err(Refusal::Socks4("another command than CONNECT"));
    }
    // Identifies a user where the proxy asks identd; this one does not.
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
            .map_err(|error| Refusal::Target(error, Protocol::Socks4))?,
        by: Protocol::Socks4,
        rest: rest.to_vec(),
    }))
}

/// A text, and the bytes after it.
type Text<'a> = (&'a [u8], &'a [u8]);

/// A text up to its NUL; `None` while that is incomplete.
fn text(bytes: &[u8]) -> Result<Option<Text<'_>>, Refusal> {
    match bytes.iter().take(MAX_TEXT + 1).position(|&byte| byte == 0) {
        Some(end) => Ok(Some((&bytes[..end], &bytes[end + 1..]))),
        None if bytes.len() > MAX_TEXT => Err(Refusal::Socks4("a name of more than 255 bytes")),
        None => Ok(None),
    }
}

fn target(host: Result<Host, EndpointError>, port: u16) -> Result<Endpoint, EndpointError> {
    match port {
        0 => Err(EndpointError::BadPort("0".into())),
        port => Ok(Endpoint::new(host?, port)),
    }
}
