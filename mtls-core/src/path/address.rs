//! The IP address of a host, in one canonical form.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::str::FromStr;
use std::io;

use nix::net::if_::if_nametoindex;

use super::endpoint_error::EndpointError;

/// The longest interface name, in bytes (`IFNAMSIZ` less its final zero).
pub(super) const MAX_INTERFACE_NAME: usize = 15;

/// The IP address of a host, in one canonical form: two spellings of one address are equal.
///
/// An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is the IPv4 address, as it is for a socket
/// (RFC 4291, section 2.5.5.2). A link-local address may have a zone (`fe80::1%eth0`; RFC 4007,
/// section 11); on any other address a zone has no meaning and is dropped.
///
/// ```
/// use mtls_core::path::HostAddress;
/// let mapped: HostAddress = "::ffff:192.0.2.1".parse()?;
/// assert_eq!(mapped.to_string(), "192.0.2.1");
/// # Ok::<(), mtls_core::path::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostAddress {
    ip: IpAddr,
    zone: Option<Box<str>>,
}

impl HostAddress {
    /// The address, without its zone.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The zone of a link-local address: the name or the index of an interface.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The other addresses that a connection to this one may reach, for rules that must hold for
    /// a host however it is addressed. Empty for most addresses.
    ///
    /// These are the IPv4 addresses that an IPv6 address embeds: IPv4-compatible (RFC 4291,
    /// section 2.5.5.1), IPv4-translated (RFC 2765, section 2.1), NAT64 (RFC 6052, section 2.2;
    /// for the prefix of RFC 8215 at each position, because its length is a local choice), 6to4
    /// (RFC 3056) and ISATAP (RFC 5214). An unspecified address reaches the loopback.
    #[must_use]
    pub fn aliases(&self) -> Vec<IpAddr> {
        match self.ip {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![Ipv4Addr::LOCALHOST.into()],
            IpAddr::V4(_) => Vec::new(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
            }
            IpAddr::V6(Ipv6Addr::LOCALHOST) => Vec::new(),
            IpAddr::V6(ip) => embedded(&ip.octets()),
        }
    }

    /// The socket address, with the index of the zone.
    ///
    /// # Errors
    /// If the zone is not an interface of this host.
    pub(super) fn socket_address(&self, port: u16) -> io::Result<SocketAddr> {
        match (self.ip, self.zone()) {
            (IpAddr::V6(ip), Some(zone)) => {
                Ok(SocketAddrV6::new(ip, port, 0, scope_id(zone)?).into())
            }
            (ip, _) => Ok(SocketAddr::new(ip, port)),
        }
    }

    fn parse_v6(text: &str) -> Option<Self> {
        let (ip, zone) = match text.split_once('%') {
            // RFC 6874 writes the `%` of a zone as `%25` in a URL.
            Some((ip, zone)) => (ip, Some(decoded(zone))),
            None => (text, None),
        };
        let ip = ip.parse::<Ipv6Addr>().ok()?;
        if !zone.is_none_or(is_interface_name) {
            return None;
        }
        let address = Self::from(IpAddr::from(ip));
        let has_zones = is_link_local(&address.ip);
        Some(Self {
            zone: zone.filter(|_| has_zones).map(Into::into),
            ..address
        })
    }
}

/// Checks what the kernel would (`dev_valid_name`).
pub(super) fn is_interface_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(bad)
}

/// The zone of a URL, or of a text that has it as it is.
fn decoded(zone: &str) -> &str {
    match zone.strip_prefix("25") {
        Some(rest) if !rest.is_empty() => rest,
        _ => zone,
    }
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        // Unicast, and the multicast scopes of an interface and a link (RFC 4291, section 2.7).
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local() || matches!(ip.octets(), [0xff, b, ..] if b & 15 <= 2)
        }
    }
}

/// A name comes first, as with getaddrinfo(3).
fn scope_id(zone: &str) -> io::Result<u32> {
    match (if_nametoindex(zone), zone.parse()) {
        (Ok(index), _) | (Err(_), Ok(index)) => Ok(index),
        (Err(error), Err(_)) => Err(error.into()),
    }
}

/// The IPv4 addresses in these bytes of an IPv6 address.
fn embedded(octets: &[u8; 16]) -> Vec<IpAddr> {
    // Byte 8 is skipped (RFC 6052, section 2.2).
    let nat64 = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12]];
    let places: &[[usize; 4]] = match octets {
        [0x20, 0x02, ..] => &[[2, 3, 4, 5]],
        [0, 0x64, 0xff, 0x9b, 0, 1, ..] => &[nat64[0], nat64[1], nat64[2], [12, 13, 14, 15]],
        [0, 0x64, 0xff, 0x9b, 0, 0, ..] => &[[12, 13, 14, 15]],
        [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, ..] => &[[12, 13, 14, 15]],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ..] => &[[12, 13, 14, 15]],
        [.., 0 | 2, 0, 0x5e, 0xfe, _, _, _, _] => &[[12, 13, 14, 15]],
        _ => &[],
    };
    let address = |place: &[usize; 4]| Ipv4Addr::from(place.map(|at| octets[at])).into();
    places.iter().map(address).collect()
}

impl From<IpAddr> for HostAddress {
    fn from(ip: IpAddr) -> Self {
        Self {
            ip: ip.to_canonical(),
            zone: None,
        }
    }
}

impl From<SocketAddr> for HostAddress {
    /// The index of the interface stays as the zone.
    fn from(address: SocketAddr) -> Self {
        let zone = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id().to_string().into()),
            _ => None,
        };
        Self {
            zone,
            ..address.ip().into()
        }
    }
}

impl FromStr for HostAddress {
    type Err = EndpointError;

    /// Parses an IPv4 address of four decimal numbers, or an IPv6 address without brackets, with
    /// or without a zone (`fe80::1%eth0`, in URLs `fe80::1%25eth0`).
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(IpAddr::from(ip).into());
        }
        Self::parse_v6(text).ok_or_else(|| EndpointError::NotAnIpv6Address(text.into()))
    }
}

/// An IPv6 address without brackets.
impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.zone() {
            None => self.ip.fmt(f),
            // Such a name would be taken for the `%25` of a URL.
            Some(zone) if decoded(zone) != zone => write!(f, "{}%25{zone}", self.ip),
            Some(zone) => write!(f, "{}%{zone}", self.ip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> HostAddress {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_spelling_of_an_address_is_one_address() {
        for (spellings, canonical) in [
            (
                &[
                    "192.0.2.1",
                    "::ffff:192.0.2.1",
                    "::FFFF:c000:201",
                    "0:0:0:0:0:ffff:c000:0201",
                ][..],
                "192.0.2.1",
            ),
            (
                &["::1", "0:0::0001", "::1%lo", "::1%25lo", "::0.0.0.1"],
                "::1",
            ),
            (&["fe80::1%eth0", "FE80:0::1%25eth0"], "fe80::1%eth0"),
            (&["fe80::1%25", "fe80::1%2525"], "fe80::1%25"),
            (&["ff02::1%eth0"], "ff02::1%eth0"),
            (&["2001:db8::1%eth0", "2001:db8:0::1"], "2001:db8::1"),
            (&["fe80::1%2525x"], "fe80::1%2525x"),
        ] {
            for text in spellings {
                assert_eq!(parsed(text).to_string(), canonical, "{text}");
                assert_eq!(parsed(text), parsed(canonical), "{text}");
            }
        }
        assert_ne!(parsed("fe80::1%eth0"), parsed("fe80::1%eth1"));
        assert_ne!(parsed("fe80::1%eth0"), parsed("fe80::1"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "192.0.2",
            "192.0.2.1%eth0",
            "::1%",
            "::1%a b",
            "fe80::1%e/0",
            "[::1]",
        ] {
            assert!(text.parse::<HostAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_that_an_ipv6_address_embeds_are_its_aliases() {
        for (text, alias) in [
            ("::192.0.2.1", "192.0.2.1"),
            ("::ffff:0:192.0.2.1", "192.0.2.1"),
            ("64:ff9b::192.0.2.1", "192.0.2.1"),
            ("64:ff9b:1::192.0.2.1", "192.0.2.1"),
            ("64:ff9b:1:c000:2:100::", "192.0.2.1"),
            ("64:ff9b:1:c0:0:201::", "192.0.2.1"),
            ("64:ff9b:1:0:c0:2:100::", "192.0.2.1"),
            ("2002:c000:201::1", "192.0.2.1"),
            ("fe80::5efe:192.0.2.1", "192.0.2.1"),
            ("2001:db8::200:5efe:192.0.2.1", "192.0.2.1"),
            ("0.0.0.0", "127.0.0.1"),
            ("::ffff:0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("::", "127.0.0.1"),
        ] {
            let aliases = parsed(text).aliases();
            assert!(
                aliases.contains(&alias.parse().unwrap()),
                "{text}: {aliases:?}"
            );
        }
        for text in ["192.0.2.1", "::1", "2001:db8::c000:201", "::ffff:192.0.2.1"] {
            assert_eq!(parsed(text).aliases(), [] as [IpAddr; 0], "{text}");
        }
    }

    #[test]
    fn a_zone_is_looked_up_by_name_and_then_by_index() {
        let scope = |text: &str| match parsed(text).socket_address(443) {
            Ok(SocketAddr::V6(address)) => Some(address.scope_id()),
            _ => None,
        };
        assert_eq!(scope("fe80::1%7"), Some(7));
        assert_eq!(scope("fe80::1"), Some(0));
        assert_eq!(scope("fe80::1%no-such"), None);
        assert_eq!(scope("fe80::1%lo"), Some(1));
    }
}
