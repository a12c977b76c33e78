//! The kernel's data on this machine's network (rtnetlink(7)).

mod parse;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::machine::{Hop, Interface, Neighbours};
use crate::path::kernel::{NetlinkSocket, Subsystem};

/// The kernel answers at once: this is for a broken one.
const TIMEOUT: Duration = Duration::from_secs(1);

/// More than one part of an answer ever has.
const MAX_PART: usize = 64 * 1024;

/// Interfaces, addresses, default routes or neighbours beyond this number are left out.
const MAX_ENTRIES: usize = 4096;

/// A way to ask the kernel.
pub(super) struct Kernel(NetlinkSocket);

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        NetlinkSocket::open(Subsystem::Route, MAX_PART, TIMEOUT).map(Self)
    }

    /// The interfaces, with their addresses and default routes.
    pub(super) fn interfaces(&mut self) -> io::Result<Vec<Interface>> {
        let mut links: Vec<parse::Link> = Vec::new();
        let ask = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.0
            .dump(ask, |payload| keep(&mut links, parse::link(payload)))?;
        let names: HashMap<u32, String> = links
            .iter()
            .map(|link| (link.interface.index, link.interface.name.clone()))
            .collect();
        let mut interfaces: Vec<_> = links
            .into_iter()
            .map(|link| Interface {
                carried_by: link.carrier.and_then(|index| names.get(&index).cloned()),
                ..link.interface
            })
            .collect();
        let mut addresses = Vec::new();
        let ask = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.0
            .dump(ask, |payload| keep(&mut addresses, parse::address(payload)))?;
        let mut routes = Vec::new();
        let ask = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        self.0
            .dump(ask, |payload| routes.extend(parse::default_routes(payload)))?;
        routes.truncate(MAX_ENTRIES);
        for interface in &mut interfaces {
            let of = |index: &u32| *index == interface.index;
            let its = addresses.iter().filter(|(index, _)| of(index));
            interface.addresses = its.map(|&(_, address)| address).collect();
            let its = routes.iter().filter(|(index, _)| of(index));
            interface.default_routes = its.map(|(_, route)| route.clone()).collect();
            interface
                .default_routes
                .sort_by_key(|route| (route.table.is_some(), route.is_ipv6, route.metric));
        }
        Ok(interfaces)
    }

    /// The interfaces that have a route to this address, whether or not it is the best one.
    pub(super) fn interfaces_toward(&mut self, to: IpAddr) -> io::Result<HashSet<u32>> {
        let mut found = HashSet::new();
        let ask = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        self.0.dump(ask, |payload| {
            found.extend(parse::exits_toward(payload, to))
        })?;
        Ok(found)
    }

    /// The hardware addresses of this machine's neighbours, by interface and address.
    pub(super) fn neighbours(&mut self) -> io::Result<Neighbours> {
        let mut found = Vec::new();
        let ask = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.0
            .dump(ask, |payload| keep(&mut found, parse::neighbour(payload)))?;
        Ok(found.into_iter().collect())
    }

    /// The route of a packet to `to`, from `from` and out of the interface `out` where these are set.
    pub(super) fn hop(
        &mut self,
        to: IpAddr,
        from: Option<IpAddr>,
        out: Option<u32>,
    ) -> io::Result<Hop> {
        let to = to.to_canonical();
        let (address_family, bits) = match to.is_ipv4() {
            true => (AddressFamily::Inet, 32),
            false => (AddressFamily::Inet6, 128),
        };
        let from = from.map(|from| from.to_canonical());
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family,
            destination_prefix_length: bits,
            source_prefix_length: from.map_or(0, |_| bits),
            ..RouteHeader::default()
        };
        let from = from.map(|from| RouteAttribute::Source(from.into()));
        let out = out.map(RouteAttribute::Oif);
        message.attributes = vec![RouteAttribute::Destination(to.into())];
        message.attributes.extend(from.into_iter().chain(out));
        let mut hops = Vec::new();
        self.0.request(RouteNetlinkMessage::GetRoute(message), 0)?;
        self.0
            .read_part(|payload| hops.extend(parse::hop(payload)))?;
        hops.pop()
            .ok_or_else(|| io::Error::other("the answer names no interface"))
    }
}

/// Omits entries that cannot be parsed.
fn keep<T>(found: &mut Vec<T>, entry: Option<T>) {
    if found.len() < MAX_ENTRIES {
        found.extend(entry);
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NLM_F_DUMP;

    use super::super::machine::{ANYWHERE, InterfaceKind};
    use super::*;
    use crate::path::kernel::messages;

    /// A part of the kernel's answer to this.
    fn answer(message: RouteNetlinkMessage) -> (Vec<u8>, u32) {
        let mut kernel = Kernel::open().unwrap();
        kernel.0.request(message, NLM_F_DUMP).unwrap();
        let (part, sequence) = kernel.0.receive().unwrap();
        (part.to_vec(), sequence)
    }

    #[test]
    fn the_loopback_interface_is_found_with_its_addresses() {
        let interfaces = Kernel::open().unwrap().interfaces().unwrap();
        let loopback = interfaces
            .iter()
            .find(|one| one.kind == InterfaceKind::Loopback);
        let loopback = loopback.expect("a loopback interface");
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let has = |ip| loopback.addresses.iter().any(|one| one.ip == ip);
        assert!(has(address("127.0.0.1")), "{loopback:?}");
        assert_eq!(loopback.sources().count(), 0, "no other host can answer");
    }

    #[test]
    fn a_hop_is_what_the_kernel_would_take() {
        let mut kernel = Kernel::open().unwrap();
        let to = "127.0.0.1".parse().unwrap();
        let hop = kernel.hop(to, None, None).unwrap();
        let interfaces = kernel.interfaces().unwrap();
        let by = interfaces.iter().find(|one| one.index == hop.interface);
        assert_eq!(by.map(|one| one.name.as_str()), Some("lo"));
        assert_eq!((hop.source, hop.gateway), (Some(to), None));
        // A source that this machine does not have; and the next question is answered again.
        assert!(kernel.hop(to, Some(ANYWHERE[0]), None).is_err());
        assert_eq!(kernel.hop(to, None, None).unwrap(), hop);
    }

    #[test]
    fn an_answer_that_is_cut_short_or_garbled_does_no_harm() {
        for message in [
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            RouteNetlinkMessage::GetRoute(RouteMessage::default()),
            RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
        ] {
            let (whole, sequence) = answer(message);
            let read = |part: &[u8]| {
                let _ = messages(part, sequence, |payload| {
                    let _ = parse::link(payload);
                    let _ = parse::address(payload);
                    let _ = parse::default_routes(payload);
                    let _ = parse::exits_toward(payload, ANYWHERE[0]);
                    let _ = parse::hop(payload);
                    let _ = parse::neighbour(payload);
                });
            };
            for len in 0..whole.len() {
                read(&whole[..len]);
            }
            for at in 0..whole.len().min(2048) {
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut garbled = whole.clone();
                    garbled[at] = byte;
                    read(&garbled);
                }
            }
        }
    }
}
