//! Which ways lead out of this machine, and so could be paths.

use std::io;
use std::net::IpAddr;

use mtls_core::path::{PathKind, RouteInfo};
use serde::Serialize;

use super::machine::{ANYWHERE, Hop, Interface, Neighbours, NextHop};
use super::netlink::Kernel;

/// How many candidates are looked at.
const MAX_CANDIDATES: usize = 16;

/// What the kernel knows, asked anew for each question.
pub(super) struct Survey {
    kernel: Kernel,
    pub(super) interfaces: Vec<Interface>,
}

/// A way out of this machine.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Way {
    #[serde(rename = "path")]
    pub(super) spec: PathKind,
    #[serde(flatten)]
    pub(super) route: RouteInfo,
    /// `None` where the kernel was not, or could not be asked.
    pub(super) next_hop: Option<NextHop>,
}

impl Survey {
    /// Looks at the machine.
    pub(super) fn take() -> io::Result<Self> {
        let mut kernel = Kernel::open()?;
        let interfaces = kernel.interfaces()?;
        Ok(Self { kernel, interfaces })
    }

    pub(super) fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    /// The interface that has this address.
    pub(super) fn owner(&self, ip: IpAddr) -> Option<&Interface> {
        let has =
            |interface: &&Interface| interface.addresses.iter().any(|address| address.ip == ip);
        self.interfaces.iter().find(has)
    }

    /// The ways to `target`, or to anywhere: the system's own, each other interface, and each
    /// other address. The first is the system's own, where there is one. The target's name may
    /// have other addresses.
    pub(super) fn ways(&mut self, target: Option<IpAddr>) -> io::Result<Vec<Way>> {
        let elsewhere = match target {
            Some(ip) if ip.is_loopback() => &[][..],
            _ => &ANYWHERE,
        };
        let toward: Vec<_> = target.iter().chain(elsewhere).copied().collect();
        let mut hops = Vec::new();
        let own = toward
            .iter()
            .find_map(|&to| self.kernel.hop(to, None, None).ok());
        hops.extend(own.map(|hop| (PathKind::Direct, hop)));
        hops.extend(self.by_interface(&toward)?);
        hops.extend(self.by_source(&toward));
        let neighbours = self.kernel.neighbours()?;
        let mut ways: Vec<Way> = Vec::new();
        for (spec, hop) in hops {
            let Some(way) = self.way(spec, &hop, &neighbours) else {
                continue;
            };
            let is_new = ways.iter().all(|other| other.route != way.route);
            if is_new && ways.len() < MAX_CANDIDATES {
                ways.push(way);
            }
        }
        Ok(ways)
    }

    /// The router that a connection passes first, if it passes one.
    pub(super) fn next_hop(
        &mut self,
        via: &PathKind,
        local: IpAddr,
        peer: IpAddr,
    ) -> Option<NextHop> {
        let out = match via {
            PathKind::Interface(name) => Some(self.interface(name)?.index),
            _ => None,
        };
        let hop = self.kernel.hop(peer, Some(local), out).ok()?;
        let neighbours = self.kernel.neighbours().ok()?;
        Some(NextHop::of(&hop, &neighbours))
    }

    fn by_interface(&mut self, toward: &[IpAddr]) -> io::Result<Vec<(PathKind, Hop)>> {
        let mut found = Vec::new();
        for &to in toward {
            let leading = self.kernel.leading_to(to)?;
            for interface in self.interfaces.iter().filter(|interface| interface.is_up()) {
                let spec = PathKind::Interface(interface.name.clone());
                let leads = leading.contains(&interface.index)
                    && interface.sources().any(|ip| ip.is_ipv4() == to.is_ipv4());
                if !leads || found.iter().any(|(other, _)| *other == spec) {
                    continue;
                }
                if let Ok(hop) = self.kernel.hop(to, None, Some(interface.index)) {
                    found.push((spec, hop));
                }
            }
        }
        Ok(found)
    }

    /// Without those whose packets leave by another interface than the address's own: that takes
    /// a routing rule.
    fn by_source(&mut self, toward: &[IpAddr]) -> Vec<(PathKind, Hop)> {
        let mut found = Vec::new();
        for interface in self.interfaces.iter().filter(|interface| interface.is_up()) {
            for source in interface.sources() {
                let same_family = |to: &&IpAddr| to.is_ipv4() == source.is_ipv4();
                let hop = toward.iter().find(same_family).and_then(|&to| {
                    let hop = self.kernel.hop(to, Some(source), None).ok()?;
                    let source = Some(source);
                    (hop.interface == interface.index).then_some(Hop { source, ..hop })
                });
                found.extend(hop.map(|hop| (PathKind::Source(source), hop)));
            }
        }
        found
    }

    fn way(&self, spec: PathKind, hop: &Hop, neighbours: &Neighbours) -> Option<Way> {
        let by_index = |interface: &&Interface| interface.index == hop.interface;
        let interface = self.interfaces.iter().find(by_index)?;
        let mut route = RouteInfo::default();
        route.interface = Some(interface.name.clone());
        route.source = hop.source;
        Some(Way {
            spec,
            route,
            next_hop: Some(NextHop::of(hop, neighbours)),
        })
    }
}
