//! The server side of SOCKS5 (RFC 1928), without authentication.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mtls_core::path::{Endpoint, EndpointError, Host};

use super::{Protocol, Request, RequestError, SOCKS5, Step};

const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The next message of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Socks {
    /// The methods that it supports.
    #[default]
    Greeting,
    /// The request, after the method was selected.
    Request,
}

/// The replies of RFC 1928, section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SocksReply {
    Succeeded = 0,
    Failure = 1,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    TtlExpired = 6,
    CommandNotSupported = 7,
    AddressTypeNotSupported = 8,
}

/// A reply. The bound address is 0.0.0.0:0, because clients of CONNECT do not need it.
pub(crate) fn reply(code: SocksReply) -> [u8; 10] {
    [SOCKS5, code as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]
}

impl Socks {
    pub(super) fn has_greeted(self) -> bool {
        self == Self::Request
    }

    pub(super) fn proceed(&mut self, received: &mut Vec<u8>) -> Result<Step, RequestError> {
        match self {
            Self::Greeting => self.greeting(received),
            Self::Request => request(received),
        }
    }

    /// `VER NMETHODS METHODS` (section 3).
    fn greeting(&mut self, received: &mut Vec<u8>) -> Result<Step, RequestError> {
        let Some(&count) = received.get(1) else {
            return Ok(Step::More);
        };
        let end = 2 + usize::from(count);
        let Some(methods) = received.get(2..end) else {
            return Ok(Step::More);
        };
        if !methods.contains(&NO_AUTHENTICATION) {
            return Err(RequestError::NoMethod);
        }
        received.drain(..end);
        *self = Self::Request;
        Ok(Step::Reply([SOCKS5, NO_AUTHENTICATION]))
    }
}

/// `VER CMD RSV ATYP ADDR PORT` (section 4).
fn request(received: &[u8]) -> Result<Step, RequestError> {
    let [_, command, reserved, kind, rest @ ..] = received else {
        return Ok(Step::More);
    };
    if *command != CONNECT {
        return Err(RequestError::Command(*command));
    }
    if *reserved != 0 {
        return Err(RequestError::Malformed("a reserved byte that is not zero"));
    }
    let Some((host, rest)) = host(*kind, rest)? else {
        return Ok(Step::More);
    };
    let [high, low, rest @ ..] = rest else {
        return Ok(Step::More);
    };
    let host = host.map_err(|error| RequestError::Target(error, Protocol::Socks5))?;
    let port = u16::from_be_bytes([*high, *low]);
    if port == 0 {
        let error = EndpointError::BadPort("0".into());
        return Err(RequestError::Target(error, Protocol::Socks5));
    }
    Ok(Step::Tunnel(Request {
        target: Endpoint::new(host, port),
        protocol: Protocol::Socks5,
        rest: rest.to_vec(),
    }))
}

type Taken<'a> = Option<(Result<Host, EndpointError>, &'a [u8])>;

/// The address (section 5), once it is complete, and what follows it.
fn host(kind: u8, bytes: &[u8]) -> Result<Taken<'_>, RequestError> {
    Ok(match kind {
        IPV4 => bytes.split_first_chunk().map(|(octets, rest)| {
            let ip = IpAddr::from(Ipv4Addr::from(*octets));
            (Ok(ip.into()), rest)
        }),
        IPV6 => bytes.split_first_chunk().map(|(octets, rest)| {
            let ip = IpAddr::from(Ipv6Addr::from(*octets));
            (Ok(ip.into()), rest)
        }),
        NAME => bytes.split_first().and_then(|(length, rest)| {
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            Some((parse(name), rest))
        }),
        other => return Err(RequestError::AddressType(other)),
    })
}

/// Parses a name, or an address, which some clients send instead.
fn parse(name: &[u8]) -> Result<Host, EndpointError> {
    String::from_utf8_lossy(name).parse()
}
