//! Lists this machine's network paths, tests them, and compares them, so that a program can choose a
//! second path.
//! Feature `route`.
//!
//! Interfaces, addresses and routes come from the kernel (rtnetlink(7)); only [`probe`] sends to the
//! network. No machine can see from inside where two paths meet later.
//!
//! ```no_run
//! use mtls_core::path::survey::{Survey, pairs};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut survey = Survey::take()?;
//! let candidates = survey.candidates(None)?;
//! let pairs = pairs(&candidates, &survey.interfaces);
//! if let Some(pair) = pairs.iter().find(|pair| pair.really_different == Some(true)) {
//!     let [primary, side] = &pair.paths;
//!     println!("primary {primary}, side {side}: {}", pair.why);
//! }
//! # Ok(())
//! # }
//! ```

mod machine;
mod netlink;
mod pairs;
mod probe;

use std::io;
use std::net::IpAddr;

use serde::Serialize;

use self::machine::{ANYWHERE, Hop, Neighbours};
use self::netlink::Kernel;
use super::{Path, PathKind, RouteInfo};

pub use machine::{Address, DefaultRoute, Interface, InterfaceKind, InterfaceState, NextHop};
pub use pairs::{Pair, pairs};
pub use probe::{Greeting, Reached, probe};

/// The most candidates that are examined.
const MAX_CANDIDATES: usize = 16;

/// A survey of this machine's network. Routes are looked up anew for each question.
pub struct Survey {
    kernel: Kernel,
    /// The interfaces, as they were when it was taken.
    pub interfaces: Vec<Interface>,
}

/// A candidate for a path: one combination of interface, source address and next hop.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The path that takes it.
    #[serde(rename = "path")]
    pub spec: PathKind,
    /// The route of its packets.
    #[serde(flatten)]
    pub route: RouteInfo,
    /// The first hop; `None` where the kernel was not, or could not be asked.
    pub next_hop: Option<NextHop>,
}

impl Candidate {
    /// A candidate that was found by dialling it.
    pub fn new(spec: PathKind, route: RouteInfo, next_hop: Option<NextHop>) -> Self {
        Self {
            spec,
            route,
            next_hop,
        }
    }

    /// The path over this candidate; `None` for a proxied one.
    pub fn path(&self) -> Option<Path> {
        match &self.spec {
            PathKind::Direct => Some(Path::system()),
            PathKind::Interface(name) => Path::interface(name).ok(),
            PathKind::Source(address) => Path::source(address.clone()).ok(),
            PathKind::Socks5(_) | PathKind::HttpConnect(_) | PathKind::Mptcp(_) => None,
        }
    }
}

impl std::fmt::Debug for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Survey")
            .field("interfaces", &self.interfaces)
            .finish_non_exhaustive()
    }
}

impl Survey {
    /// Asks the kernel for the machine's interfaces.
    ///
    /// # Errors
    /// The kernel gives no answer, as in a sandbox without netlink.
    pub fn take() -> io::Result<Self> {
        let mut kernel = Kernel::open()?;
        let interfaces = kernel.interfaces()?;
        Ok(Self { kernel, interfaces })
    }

    /// The interface of this name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    /// The interface that has this address.
    pub fn owner(&self, ip: IpAddr) -> Option<&Interface> {
        let has =
            |interface: &&Interface| interface.addresses.iter().any(|address| address.ip == ip);
        self.interfaces.iter().find(has)
    }

    /// The candidates toward `target`, or toward anywhere: the system's own, each other interface, and each
    /// other address. The first is the system's own, where there is one. The target's name may
    /// have other addresses.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn candidates(&mut self, target: Option<IpAddr>) -> io::Result<Vec<Candidate>> {
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
        let mut candidates: Vec<Candidate> = Vec::new();
        for (spec, hop) in hops {
            let Some(candidate) = self.candidate(spec, &hop, &neighbours) else {
                continue;
            };
            let is_new = candidates
                .iter()
                .all(|other| other.route != candidate.route);
            if is_new && candidates.len() < MAX_CANDIDATES {
                candidates.push(candidate);
            }
        }
        Ok(candidates)
    }

    /// The first hop of a connection over `via`; `None` where it cannot be found out.
    pub fn next_hop(&mut self, via: &PathKind, local: IpAddr, peer: IpAddr) -> Option<NextHop> {
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
            let leading = self.kernel.interfaces_toward(to)?;
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
                found.extend(hop.map(|hop| (PathKind::Source(source.into()), hop)));
            }
        }
        found
    }

    fn candidate(&self, spec: PathKind, hop: &Hop, neighbours: &Neighbours) -> Option<Candidate> {
        let by_index = |interface: &&Interface| interface.index == hop.interface;
        let interface = self.interfaces.iter().find(by_index)?;
        let route = RouteInfo {
            interface: Some(interface.name.clone()),
            source: hop.source,
            ..RouteInfo::default()
        };
        Some(Candidate {
            spec,
            route,
            next_hop: Some(NextHop::of(hop, neighbours)),
        })
    }
}
