//! Parsers of the kernel's messages. A message that cannot be parsed yields nothing.

use std::net::IpAddr;
use std::path::Path;

use netlink_packet_core::{NlaBuffer, NlasIterator, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkLayerType};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteType, RouteVia,
};

use super::super::machine::{Address, DefaultRoute, Hop, Interface, InterfaceKind, InterfaceState};

/// The routing tables of the machine's own addresses, and the main one (ip-route(8)).
const LOCAL_TABLE: u32 = 255;
const MAIN_TABLE: u32 = 254;

/// An interface, and the number of the one that carries it.
pub(super) struct Link {
    pub(super) interface: Interface,
    pub(super) carrier: Option<u32>,
}

/// Reads the few attributes that are needed, which have been the same for decades: newer kernels
/// have some that no library knows.
pub(super) fn link(payload: &[u8]) -> Option<Link> {
    const ADDRESS_OF_HEADER: usize = 16;
    const IFNAME: u16 = 3;
    const LINK: u16 = 5;
    const LINKINFO: u16 = 18;
    const LINK_NETNSID: u16 = 37;
    let header = LinkHeader::parse(payload).ok()?;
    let (mut name, mut made, mut below, mut elsewhere) = (None, None, None, false);
    for attribute in NlasIterator::new(payload.get(ADDRESS_OF_HEADER..)?) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            IFNAME => name = text(attribute.value()),
            LINK => {
                below = attribute
                    .value()
                    .first_chunk()
                    .map(|b| u32::from_ne_bytes(*b))
            }
            LINKINFO => made = info_kind(attribute.value()),
            LINK_NETNSID => elsewhere = true,
            _ => {}
        }
    }
    let name = name?;
    // The other end of a veth is no carrier, and an index elsewhere names nothing here.
    let stacked = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"];
    let is_stacked = made.as_deref().is_some_and(|made| stacked.contains(&made));
    Some(Link {
        carrier: below.filter(|_| is_stacked && !elsewhere),
        interface: Interface {
            kind: kind(&name, &header, made),
            name,
            index: header.index,
            state: state(header.flags),
            addresses: Vec::new(),
            default_routes: Vec::new(),
            carried_by: None,
        },
    })
}

fn info_kind(info: &[u8]) -> Option<String> {
    const KIND: u16 = 1;
    let found = NlasIterator::new(info).flatten();
    let mut kinds = found.filter(|attribute: &NlaBuffer<&[u8]>| attribute.kind() == KIND);
    text(kinds.next()?.value())
}

fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    String::from_utf8(bytes.to_vec()).ok()
}

/// Wireless and mobile devices are known by what their drivers tell sysfs.
fn kind(name: &str, header: &LinkHeader, made: Option<String>) -> InterfaceKind {
    if header.flags.contains(LinkFlags::Loopback) {
        return InterfaceKind::Loopback;
    }
    if let Some(made) = made {
        return match made.as_str() {
            "wwan" => InterfaceKind::Mobile,
            _ => InterfaceKind::Made(made),
        };
    }
    let device = Path::new("/sys/class/net").join(name);
    let event = std::fs::read_to_string(device.join("uevent")).unwrap_or_default();
    let is = |kind: &str| event.lines().any(|line| line == format!("DEVTYPE={kind}"));
    if is("wwan") {
        return InterfaceKind::Mobile;
    }
    if is("wlan") || device.join("phy80211").exists() {
        return InterfaceKind::Wireless;
    }
    match header.link_layer_type {
        LinkLayerType::Ether => InterfaceKind::Ethernet,
        LinkLayerType::Ppp => InterfaceKind::PointToPoint,
        _ => InterfaceKind::Other,
    }
}

fn state(flags: LinkFlags) -> InterfaceState {
    match (
        flags.contains(LinkFlags::Up),
        flags.contains(LinkFlags::Running),
    ) {
        (true, true) => InterfaceState::Up,
        (true, false) => InterfaceState::NoCarrier,
        (false, _) => InterfaceState::Down,
    }
}

pub(super) fn address(payload: &[u8]) -> Option<(u32, Address)> {
    let message = AddressMessage::parse(payload).ok()?;
    let (mut local, mut other) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point interface the other one is the other end's.
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => other = Some(*ip),
            AddressAttribute::Flags(more) => flags = *more,
            _ => {}
        }
    }
    let unusable = AddressFlags::Tentative | AddressFlags::Deprecated | AddressFlags::Dadfailed;
    let address = Address {
        ip: local.or(other)?,
        prefix: message.header.prefix_len,
        usable: !flags.intersects(unusable),
    };
    Some((message.header.index, address))
}

/// A default route may have several next hops.
pub(super) fn default_routes(payload: &[u8]) -> Vec<(u32, DefaultRoute)> {
    // Routers have millions of others.
    let is_default =
        RouteHeader::parse(payload).is_ok_and(|header| header.destination_prefix_length == 0);
    let Some(message) = is_default.then(|| outward(payload)).flatten() else {
        return Vec::new();
    };
    let metric = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        });
    let table = table(&message);
    let route = |(interface, gateway)| {
        let route = DefaultRoute {
            gateway,
            is_ipv6: message.header.address_family == AddressFamily::Inet6,
            metric: metric.unwrap_or(0),
            table: Some(table).filter(|&table| table != MAIN_TABLE),
        };
        (interface, route)
    };
    exits(&message.attributes).into_iter().map(route).collect()
}

/// The interfaces of a route, if it leads to this address.
pub(super) fn exits_toward(payload: &[u8], to: IpAddr) -> Vec<u32> {
    let to = to.to_canonical();
    let Some(message) = outward(payload) else {
        return Vec::new();
    };
    let family = match to.is_ipv4() {
        true => AddressFamily::Inet,
        false => AddressFamily::Inet6,
    };
    let header = &message.header;
    let destination = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(destination) => ip(destination),
            _ => None,
        });
    let length = header.destination_prefix_length;
    let leads = length == 0 || destination.is_some_and(|net| is_within(to, net, length));
    if header.address_family != family || !leads {
        return Vec::new();
    }
    let exits = exits(&message.attributes).into_iter();
    exits.map(|(interface, _)| interface).collect()
}

/// A route for packets, and none to the machine itself or to nowhere.
fn outward(payload: &[u8]) -> Option<RouteMessage> {
    let message = RouteMessage::parse(payload).ok()?;
    let is_unicast = message.header.kind == RouteType::Unicast;
    (is_unicast && table(&message) != LOCAL_TABLE).then_some(message)
}

fn table(message: &RouteMessage) -> u32 {
    let table = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
    // The header has room for small numbers only.
    table.unwrap_or(u32::from(message.header.table))
}

fn is_within(ip: IpAddr, net: IpAddr, length: u8) -> bool {
    let bits = |ip| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => u128::from(ip),
    };
    let differing = bits(ip) ^ bits(net);
    differing.leading_zeros() >= u32::from(length)
}

/// The interfaces and gateways of a route.
fn exits(attributes: &[RouteAttribute]) -> Vec<(u32, Option<IpAddr>)> {
    let hops = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    if let Some(hops) = hops {
        let exit = |hop: &RouteNextHop| (hop.interface_index, gateway(&hop.attributes));
        return hops.iter().map(exit).collect();
    }
    let interface = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    interface
        .map(|index| (index, gateway(attributes)))
        .into_iter()
        .collect()
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(gateway) => ip(gateway),
        // IPv4 by way of an IPv6 router (RFC 5549).
        RouteAttribute::Via(via) => match via {
            RouteVia::Inet(ip) => Some((*ip).into()),
            RouteVia::Inet6(ip) => Some((*ip).into()),
            _ => None,
        },
        _ => None,
    })
}

pub(super) fn hop(payload: &[u8]) -> Option<Hop> {
    let message = RouteMessage::parse(payload).ok()?;
    let (interface, gateway) = exits(&message.attributes).pop()?;
    let source = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::PrefSource(source) => ip(source),
            _ => None,
        });
    Some(Hop {
        interface,
        source,
        gateway,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

pub(super) fn neighbour(payload: &[u8]) -> Option<((u32, IpAddr), String)> {
    let message = NeighbourMessage::parse(payload).ok()?;
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some((*v4).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some((*v6).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Some(hardware(bytes)),
            _ => {}
        }
    }
    // All zeroes is the address of an interface that has none.
    let mac = mac.flatten()?;
    Some(((message.header.ifindex, ip?), mac))
}

fn hardware(bytes: &[u8]) -> Option<String> {
    let known = bytes.iter().any(|&byte| byte != 0);
    let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
    known.then(|| hex.collect::<Vec<_>>().join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_has_its_prefix() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (address, net, length, expected) in [
            ("192.0.2.7", "192.0.2.0", 24, true),
            ("192.0.3.7", "192.0.2.0", 24, false),
            ("192.0.3.7", "192.0.2.0", 23, true),
            ("192.0.2.7", "192.0.2.7", 32, true),
            ("192.0.2.6", "192.0.2.7", 32, false),
            ("2001:db8::7", "2001:db8::", 64, true),
            ("2001:db8:0:1::7", "2001:db8::", 64, false),
            ("2001:db8::7", "2001:db8::7", 128, true),
        ] {
            assert_eq!(
                is_within(ip(address), ip(net), length),
                expected,
                "{address} {net}"
            );
        }
    }
}
