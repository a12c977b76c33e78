//! Multipath TCP (RFC 8684) as the kernel reports and manages it (feature `mptcp`).

mod diagnostics;
mod manager;
#[cfg(test)]
mod tests;

use core::net::{IpAddr, SocketAddr};
use std::io;

use rustix::net::netdevice::{index_to_name, name_to_index};
use socket2::{Domain, Socket, Type};

use super::kind::SubflowSource;
use super::route::{interface, source_toward};
use super::subflow::{MptcpReport, SubflowReport};
use diagnostics::Diagnostics;

pub(crate) use diagnostics::{Snapshot, TcpSocket};
pub(crate) use manager::{Obstacle, PathManager, SubflowName};

/// Looks a connection up by its addresses. `None` if the kernel has no such connection, or does not
/// tell.
pub(super) fn report(local: SocketAddr, peer: SocketAddr) -> Option<MptcpReport> {
    let found = Watch::new(Some(local), peer).read().inspect_err(|error| {
        tracing::debug!(%local, %peer, %error, "the kernel reports no Multipath TCP connection");
    });
    let found = found.ok()??;
    Some(MptcpReport {
        fallback: found.fallback,
        subflows: established(&found.subflows).map(subflow).collect(),
    })
}

/// A connection whose state is read again and again. The first reading, and each one after a change of the
/// subflows, searches all TCP sockets of the network namespace; the others do not.
pub(crate) struct Watch {
    local: Option<SocketAddr>,
    peer: SocketAddr,
    last: Option<Snapshot>,
}

impl Watch {
    /// The connection between these addresses. Without `local`: the one from `peer`.
    pub(crate) fn new(local: Option<SocketAddr>, peer: SocketAddr) -> Self {
        Self {
            local,
            peer,
            last: None,
        }
    }

    /// The state now.
    pub(crate) fn read(&mut self) -> io::Result<Option<Snapshot>> {
        let mut diagnostics = Diagnostics::open()?;
        let last = self.last.take();
        let again = last.and_then(|last| diagnostics.snapshot_again(&last));
        self.last = match again {
            Some(again) => Some(again),
            None => diagnostics.snapshot(self.local, self.peer)?,
        };
        Ok(self.last.clone())
    }
}

/// The first subflow, and the further ones that are established.
fn established(subflows: &[TcpSocket]) -> impl Iterator<Item = &TcpSocket> {
    let is_established = |(index, one): &(usize, &TcpSocket)| *index == 0 || one.is_established;
    let subflows = subflows.iter().enumerate();
    subflows.filter(is_established).map(|(_, one)| one)
}

/// The interface by which a subflow leaves: that with this index, or as routed where it is 0.
pub(super) fn interface_of(index: u32, local: SocketAddr, peer: SocketAddr) -> Option<String> {
    match index {
        0 => interface(local, peer),
        index => index_to_name(any_socket().ok()?, index).ok(),
    }
}

/// The kernel answers on any socket.
fn any_socket() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::DGRAM, None)
}

fn subflow(socket: &TcpSocket) -> SubflowReport {
    SubflowReport {
        local: socket.local,
        peer: socket.peer,
        interface: interface_of(socket.interface, socket.local, socket.peer),
        bytes_received: socket.bytes_received,
    }
}

/// The address of this host, and the index of the interface (0: as routed), of a further subflow
/// toward `peer`.
pub(crate) fn source_of(source: &SubflowSource, peer: IpAddr) -> io::Result<(IpAddr, u32)> {
    match source {
        SubflowSource::Source(address) => Ok((address.ip(), 0)),
        SubflowSource::Interface(name) => {
            let index = name_to_index(any_socket()?, name)?;
            Ok((source_toward(peer, index)?, index))
        }
    }
}
