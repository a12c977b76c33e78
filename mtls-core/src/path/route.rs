//! By which interface a connection leaves: the kernel is asked, nothing is guessed.

use core::cell::RefCell;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
#[cfg(feature = "mptcp")]
use netlink_packet_route::route::RouteAddress;
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::netdevice::index_to_name;

use super::kernel::{NetlinkSocket, Subsystem};

/// The interface by which packets of a connection leave whose socket is bound to none, as the
/// kernel's routes are now. `None` when it cannot be found out.
///
/// A handful of system calls, some µs; a kernel that does not answer is waited for 20 ms at most.
/// Each thread keeps the socket that it asks with, so a thread that changes its network namespace
/// must not have asked before.
pub(super) fn interface(local: SocketAddr, peer: SocketAddr) -> Option<String> {
    match by_route(local, peer) {
        Ok(name) => Some(name),
        Err(error) => {
            tracing::debug!(%local, %peer, %error, "no route could be looked up");
            None
        }
    }
}

/// The address of this host from which packets to `peer` leave by the interface with this index.
#[cfg(feature = "mptcp")]
pub(super) fn source_toward(peer: IpAddr, interface: u32) -> io::Result<IpAddr> {
    let mut message = request_to(peer);
    message.attributes.push(RouteAttribute::Oif(interface));
    let mut socket = NetlinkSocket::open(Subsystem::Route, MAX_ANSWER, TIMEOUT)?;
    socket.request(RouteNetlinkMessage::GetRoute(message), 0)?;
    let (answer, sequence) = socket.receive()?;
    let source = route(answer, sequence)?
        .attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => Some(IpAddr::from(ip)),
            RouteAttribute::PrefSource(RouteAddress::Inet6(ip)) => Some(IpAddr::from(ip)),
            _ => None,
        });
    source.ok_or_else(|| io::Error::other("the route names no source address"))
}

/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// The kernel answers within the request's own system call: this is for a broken one.
const TIMEOUT: Duration = Duration::from_millis(20);

/// More than any answer about one route.
const MAX_ANSWER: usize = 8 * 1024;

thread_local! {
    /// Making a socket and closing it costs more than all the rest.
    static SOCKET: RefCell<Option<NetlinkSocket>> = const { RefCell::new(None) };
}

fn by_route(local: SocketAddr, peer: SocketAddr) -> io::Result<String> {
    SOCKET.with_borrow_mut(|kept| {
        let mut socket = match kept.take() {
            Some(socket) => socket,
            None => NetlinkSocket::open(Subsystem::Route, MAX_ANSWER, TIMEOUT)?,
        };
        socket.request(request(local, peer), 0)?;
        let (answer, sequence) = socket.receive()?;
        let index = output_interface(answer, sequence);
        let name = index.and_then(|index| Ok(index_to_name(&socket, index)?));
        // One that was not answered is not kept: the answer may still be on its way.
        *kept = Some(socket);
        name
    })
}

/// `RTM_GETROUTE` with all that routing rules may look at (rtnetlink(7)).
fn request(local: SocketAddr, peer: SocketAddr) -> RouteNetlinkMessage {
    // An IPv4 connection on an IPv6 socket is routed as IPv4.
    let source = local.ip().to_canonical();
    let mut message = request_to(peer.ip());
    message.header.source_prefix_length = message.header.destination_prefix_length;
    message.attributes.extend([
        RouteAttribute::Source(source.into()),
        RouteAttribute::IpProto(TCP),
        RouteAttribute::Sport(local.port()),
        RouteAttribute::Dport(peer.port()),
    ]);
    // A link-local address means nothing without its interface.
    if let SocketAddr::V6(peer) = peer
        && peer.scope_id() != 0
    {
        message
            .attributes
            .push(RouteAttribute::Oif(peer.scope_id()));
    }
    RouteNetlinkMessage::GetRoute(message)
}

fn request_to(peer: IpAddr) -> RouteMessage {
    let destination = peer.to_canonical();
    let (address_family, destination_prefix_length) = match destination.is_ipv4() {
        true => (AddressFamily::Inet, 32),
        false => (AddressFamily::Inet6, 128),
    };
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family,
        destination_prefix_length,
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Destination(destination.into())];
    message
}

/// The index of the interface that the answer names.
fn output_interface(answer: &[u8], sequence: u32) -> io::Result<u32> {
    let index = route(answer, sequence)?
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
    index.ok_or_else(|| io::Error::other("the route names no interface"))
}

/// The route that the answer describes.
fn route(answer: &[u8], sequence: u32) -> io::Result<RouteMessage> {
    let (header, payload) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer)
        .map_err(io::Error::other)?
        .into_parts();
    if header.sequence_number != sequence {
        return Err(io::Error::other("an answer to another request"));
    }
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(route),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::Error::other("an answer of another type")),
    }
}

#[cfg(test)]
mod tests {
    use super::{by_route, output_interface};

    #[test]
    fn the_kernel_names_the_loopback_for_loopback_addresses() {
        let (local, peer) = (
            "127.0.0.2:40000".parse().unwrap(),
            "127.0.0.1:443".parse().unwrap(),
        );
        assert_eq!(by_route(local, peer).unwrap(), "lo");
    }

    #[test]
    fn a_refused_look_up_leaves_nothing_behind_for_the_next() {
        let known = (
            "127.0.0.2:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        );
        let unknown = (
            "203.0.113.7:1".parse().unwrap(),
            "192.0.2.1:2".parse().unwrap(),
        );
        for _ in 0..3 {
            assert_eq!(by_route(known.0, known.1).unwrap(), "lo");
            assert!(by_route(unknown.0, unknown.1).is_err());
        }
    }

    #[test]
    fn a_source_that_this_host_does_not_have_gives_no_interface() {
        let (local, peer) = (
            "203.0.113.7:40000".parse().unwrap(),
            "192.0.2.1:443".parse().unwrap(),
        );
        assert!(by_route(local, peer).is_err());
    }

    #[test]
    fn an_answer_cut_short_gives_no_interface() {
        // RTM_NEWROUTE, sequence 1, RTA_OIF 7.
        let mut answer = vec![36, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        answer.extend([
            2, 32, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0, 8, 0, 4, 0, 7, 0, 0, 0,
        ]);
        assert_eq!(output_interface(&answer, 1).unwrap(), 7);
        for len in 0..answer.len() {
            assert!(output_interface(&answer[..len], 1).is_err(), "{len} bytes");
        }
        answer[8] = 2;
        assert!(
            output_interface(&answer, 1).is_err(),
            "an answer to another request"
        );
    }
}
