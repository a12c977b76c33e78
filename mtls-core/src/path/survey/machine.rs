//! The machine's network, as far as it can be looked at from inside.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

/// Targets for the lookup of default routes. These addresses are in no real network (RFC 5737,
/// RFC 4291), and nothing is sent to them.
pub(super) const ANYWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1)),
];

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Interface {
    /// The kernel's name for it, such as `eth0`.
    pub name: String,
    /// The kernel's number for it.
    #[serde(skip)]
    pub index: u32,
    /// The kind of network.
    pub kind: InterfaceKind,
    /// Its state.
    pub state: InterfaceState,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// The default routes that leave by it, those of the main table first.
    pub default_routes: Vec<DefaultRoute>,
    /// The interface that carries its packets, as under a VLAN.
    pub carried_by: Option<String>,
}

/// The kind of an interface, as the kernel reports it; a name is no proof.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterfaceKind {
    /// This machine itself.
    Loopback,
    /// A wire, or something like one.
    Ethernet,
    /// Wi-Fi.
    Wireless,
    /// A modem of a mobile network.
    Mobile,
    /// Such as PPP.
    PointToPoint,
    /// Something that the kernel makes, by its name for it: `veth`, `vlan`, `wireguard`, ….
    Made(String),
    /// Anything else.
    Other,
}

/// The state of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceState {
    /// Packets can leave by it.
    Up,
    /// Switched on, with no cable or no network.
    NoCarrier,
    /// Switched off.
    Down,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The length of its network's prefix, in bits.
    pub prefix: u8,
    /// Whether connections can use it: it is neither tentative nor deprecated.
    pub usable: bool,
}

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DefaultRoute {
    /// The router; `None` where the interface needs none.
    pub gateway: Option<IpAddr>,
    /// Whether it is a route of IPv6.
    pub is_ipv6: bool,
    /// Its metric: the route with the lowest is taken.
    pub metric: u32,
    /// The routing table, where it is not the main one: a rule must lead to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
}

/// By which interface a packet would leave, from which address, and to where first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) interface: u32,
    pub(super) source: Option<IpAddr>,
    pub(super) gateway: Option<IpAddr>,
}

/// The hardware addresses of this machine's neighbours, by interface and address.
pub(super) type Neighbours = HashMap<(u32, IpAddr), String>;

/// The first hop of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NextHop {
    /// The router; `None` where the other end is on the network of the interface itself.
    pub gateway: Option<IpAddr>,
    /// Its hardware address, as far as it has been heard of.
    pub mac: Option<String>,
}

impl Interface {
    /// Returns whether packets can leave by it.
    pub fn is_up(&self) -> bool {
        self.state == InterfaceState::Up
    }

    /// The addresses that a connection to elsewhere may come from.
    pub(super) fn sources(&self) -> impl Iterator<Item = IpAddr> {
        let usable = self.addresses.iter().filter(|address| address.usable);
        usable
            .map(|address| address.ip)
            .filter(|ip| !ip.is_loopback() && !is_link_local(*ip))
    }

    /// A tunnel's packets leave once more, by another interface.
    pub(super) fn is_tunnel(&self) -> bool {
        const TUNNELS: [&str; 16] = [
            "tun",
            "wireguard",
            "ipip",
            "gre",
            "gretap",
            "ip6gre",
            "ip6gretap",
            "ip6tnl",
            "sit",
            "vti",
            "vti6",
            "xfrm",
            "vxlan",
            "geneve",
            "amt",
            "bareudp",
        ];
        matches!(&self.kind, InterfaceKind::Made(name) if TUNNELS.contains(&name.as_str()))
    }
}

/// Means nothing without its interface.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

impl fmt::Display for InterfaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Ethernet => "ethernet",
            Self::Wireless => "wireless",
            Self::Mobile => "mobile",
            Self::PointToPoint => "point-to-point",
            Self::Made(name) => name,
            Self::Other => "other",
        })
    }
}

impl Serialize for InterfaceKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl InterfaceState {
    /// Its text for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::NoCarrier => "no carrier",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl NextHop {
    pub(super) fn of(hop: &Hop, neighbours: &Neighbours) -> Self {
        let mac = hop
            .gateway
            .and_then(|gateway| neighbours.get(&(hop.interface, gateway)));
        Self {
            gateway: hop.gateway,
            mac: mac.cloned(),
        }
    }

    /// Returns whether both are one router; `None` if that is unknown.
    pub(super) fn is_same_router(&self, other: &Self) -> Option<bool> {
        let (Some(one), Some(two)) = (self.gateway, other.gateway) else {
            // One of them, at least, has no router to share.
            return Some(false);
        };
        match (&self.mac, &other.mac) {
            (Some(one), Some(two)) => Some(one == two),
            // Many a router has the address 192.168.1.1.
            _ if one == two => None,
            _ => Some(false),
        }
    }
}
