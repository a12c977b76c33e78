//! UDP over a path: what QUIC needs of it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use super::Path;
use super::connect::{Deadline, interface};
use super::endpoint::Endpoint;
use super::error::{DialError, DialFailure, DialStage};
use super::independence::{Route, RouteInfo};
use super::kind::PathKind;
use super::names::ResolvedBy;
use super::socket::{SocketBinding, device};

/// The addresses of a host that a path may reach, the resolver's order first.
pub(crate) struct Targets {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) resolver: Option<ResolvedBy>,
}

/// The route of datagrams to one peer.
pub(crate) struct UdpRoute {
    /// The address from which they leave.
    pub(crate) source: IpAddr,
    pub(crate) route: Route,
}

impl Path {
    /// Resolves a host over the path.
    pub(crate) async fn targets(&self, to: &Endpoint) -> Result<Targets, Box<DialError>> {
        let dialler = self.dialler(to);
        let deadline = Deadline::after(self.settings.connect_timeout);
        let resolving = async {
            let found = dialler.addresses(to).await?;
            Ok(Targets {
                addresses: dialler.usable(to, found.addresses)?,
                resolver: found.by,
            })
        };
        let found = deadline.bound(DialStage::Resolving, resolving).await;
        found.map_err(|reason| self.error(to, reason))
    }

    /// The route of datagrams to `peer`.
    ///
    /// # Errors
    /// If there is none, or no socket can be bound as the path demands.
    pub(crate) fn udp_route(
        &self,
        to: &Endpoint,
        peer: SocketAddr,
    ) -> Result<UdpRoute, Box<DialError>> {
        self.find_route(to, peer)
            .map_err(|reason| self.error(to, reason))
    }

    /// A UDP socket that is bound as the path demands, for datagrams to peers of this family.
    ///
    /// # Errors
    /// If it cannot be bound.
    pub(crate) fn udp_socket(
        &self,
        to: &Endpoint,
        peer: SocketAddr,
    ) -> Result<UdpSocket, Box<DialError>> {
        let socket = bound(&self.dialler(to).binding(), peer);
        socket.map_err(|reason| self.error(to, reason))
    }

    fn find_route(&self, to: &Endpoint, peer: SocketAddr) -> Result<UdpRoute, DialFailure> {
        let binding = self.dialler(to).binding();
        let connect = |error: io::Error| DialFailure::Connect {
            address: peer,
            error: Arc::new(error),
        };
        // QUIC's socket stays unconnected, so that its address may change: this one asks the routes.
        let probe = bound(&binding, peer)?;
        probe.connect(peer).map_err(connect)?;
        let source = probe.local_addr().map_err(connect)?;
        let device = match self.settings.kind {
            PathKind::Interface(_) => device(&probe),
            _ => None,
        };
        let route = Route::lazy(move || RouteInfo {
            interface: device.or_else(|| interface(source, peer)),
            source: Some(source.ip()),
            proxy_address: None,
            proxy: None,
        });
        Ok(UdpRoute {
            source: source.ip(),
            route,
        })
    }

    fn error(&self, to: &Endpoint, reason: DialFailure) -> Box<DialError> {
        Box::new(DialError::new(
            self.settings.kind.clone(),
            to.clone(),
            reason,
        ))
    }
}

/// A socket with a port of its own.
fn bound(binding: &SocketBinding, peer: SocketAddr) -> Result<UdpSocket, DialFailure> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    binding
        .udp_socket(any)
        .map_err(|error| binding.failure(error))
}
