//! Compares two candidates: the independence that a verdict reports, and the shared carriers and
//! routers that a verdict does not look at.

use std::fmt::Write;

use serde::Serialize;

use super::Candidate;
use super::machine::{Interface, NextHop};
use crate::path::{Independence, PathKind};

/// Two candidates, compared.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Pair {
    /// The paths of both.
    pub paths: [PathKind; 2],
    /// The independence that a verdict would report.
    pub independence: Independence,
    /// Whether this machine sees two separate paths, including routers and
    /// carriers too; `None` where it cannot see enough.
    pub really_different: Option<bool>,
    /// The reason, for people.
    pub why: String,
}

/// Compares every two of these candidates. Pairs that are really different come first.
pub fn pairs(candidates: &[Candidate], interfaces: &[Interface]) -> Vec<Pair> {
    let firsts = candidates.iter().enumerate();
    let mut pairs: Vec<_> = firsts
        .flat_map(|(index, one)| {
            candidates[index + 1..]
                .iter()
                .map(move |other| (one, other))
        })
        .map(|(one, other)| Pair::of(one, other, interfaces))
        .collect();
    pairs.sort_by_key(|pair| match pair.really_different {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    });
    pairs
}

impl Pair {
    /// Compares two.
    pub(super) fn of(one: &Candidate, other: &Candidate, interfaces: &[Interface]) -> Self {
        let independence = Independence::between(&one.route, &other.route);
        let mut pair = Self {
            paths: [one.spec.clone(), other.spec.clone()],
            independence,
            really_different: match independence {
                Independence::Unknown => None,
                known => Some(known.is_independent()),
            },
            why: independence.to_string(),
        };
        match independence {
            Independence::DifferentInterface => pair.check_next_hops(one, other, interfaces),
            Independence::SameInterfaceOtherSource | Independence::Same => {
                pair.name_interface(one);
            }
            Independence::Proxied => {
                pair.explain("by which network a proxy goes on is not known from here")
            }
            _ => {}
        }
        pair
    }

    /// Two interfaces may lead to one router, or be one wire.
    fn check_next_hops(&mut self, one: &Candidate, other: &Candidate, interfaces: &[Interface]) {
        if let Some(carrier) = shared_carrier(one, other, interfaces) {
            self.really_different = Some(false);
            self.explain(&format!("but both are carried by {carrier}"));
            return;
        }
        let (Some(hop), Some(others)) = (&one.next_hop, &other.next_hop) else {
            return;
        };
        match hop.is_same_router(others) {
            Some(true) => {
                self.really_different = Some(false);
                self.explain(&format!(
                    "but to the same router: {} and {} have the hardware address {}",
                    gateway(hop),
                    gateway(others),
                    hop.mac.as_deref().unwrap_or("(unknown)"),
                ));
            }
            None => {
                self.really_different = None;
                self.explain(&format!(
                    "the next hop of both is {}; whether that is one router or two of the same \
                     address, this machine has not heard yet",
                    gateway(hop),
                ));
            }
            Some(false) => self.explain(&format!(
                "next hops {} and {}",
                gateway(hop),
                gateway(others)
            )),
        }
        for candidate in [one, other] {
            if let Some(tunnel) = tunnel(candidate, interfaces) {
                self.explain(&format!(
                    "{tunnel} is a tunnel, whose packets may leave by the other one, and whose \
                     far end is not known from here"
                ));
            }
        }
    }

    fn name_interface(&mut self, candidate: &Candidate) {
        if let Some(interface) = &candidate.route.interface {
            self.explain(&format!(
                "an attacker in the network of {interface} is on both paths"
            ));
        }
    }

    fn explain(&mut self, more: &str) {
        let _ = write!(self.why, "; {more}");
    }
}

/// The interface that carries both, or one of them that carries the other.
fn shared_carrier(one: &Candidate, other: &Candidate, interfaces: &[Interface]) -> Option<String> {
    let lowest = |candidate: &Candidate| {
        let mut name = candidate.route.interface.clone()?;
        // VLANs on VLANs end somewhere; two at most are of any use.
        for _ in 0..4 {
            match find(interfaces, &name).and_then(|found| found.carried_by.clone()) {
                Some(carrier) => name = carrier,
                None => break,
            }
        }
        Some(name)
    };
    lowest(one).filter(|carrier| lowest(other).as_ref() == Some(carrier))
}

fn tunnel(candidate: &Candidate, interfaces: &[Interface]) -> Option<String> {
    let interface = find(interfaces, candidate.route.interface.as_deref()?)?;
    interface.is_tunnel().then(|| interface.name.clone())
}

fn find<'a>(interfaces: &'a [Interface], name: &str) -> Option<&'a Interface> {
    interfaces.iter().find(|interface| interface.name == name)
}

fn gateway(hop: &NextHop) -> String {
    match hop.gateway {
        Some(gateway) => gateway.to_string(),
        None => "none (the other end is on the same network)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::path::RouteInfo;

    use super::super::machine::{InterfaceKind, InterfaceState};

    fn candidate(
        interface: &str,
        source: &str,
        gateway: Option<(&str, Option<&str>)>,
    ) -> Candidate {
        Candidate {
            spec: PathKind::Interface(interface.into()),
            route: RouteInfo {
                interface: Some(interface.into()),
                source: Some(source.parse().unwrap()),
                ..RouteInfo::default()
            },
            next_hop: Some(NextHop {
                gateway: gateway.map(|(ip, _)| ip.parse().unwrap()),
                mac: gateway.and_then(|(_, mac)| mac.map(str::to_owned)),
            }),
        }
    }

    #[test]
    fn two_interfaces_are_two_only_where_their_routers_are() {
        let wired = candidate(
            "eth0",
            "192.0.2.7",
            Some(("192.0.2.1", Some("02:00:00:00:00:01"))),
        );
        for (gateway, expected, words) in [
            (
                Some(("198.51.100.1", Some("02:00:00:00:00:02"))),
                Some(true),
                "198.51.100.1",
            ),
            (Some(("198.51.100.1", None)), Some(true), "198.51.100.1"),
            (None, Some(true), "same network"),
            // A home router's Wi-Fi and its sockets.
            (
                Some(("192.0.2.1", Some("02:00:00:00:00:01"))),
                Some(false),
                "same router",
            ),
            (
                Some(("198.51.100.1", Some("02:00:00:00:00:01"))),
                Some(false),
                "same router",
            ),
            // Two home routers of one make.
            (
                Some(("192.0.2.1", Some("02:00:00:00:00:02"))),
                Some(true),
                "192.0.2.1",
            ),
            (Some(("192.0.2.1", None)), None, "has not heard"),
        ] {
            let other = candidate("wlan0", "192.0.2.8", gateway);
            let pair = Pair::of(&wired, &other, &[]);
            assert_eq!(pair.independence, Independence::DifferentInterface);
            assert_eq!(pair.really_different, expected, "{}", pair.why);
            assert!(pair.why.contains(words), "{}", pair.why);
        }
    }

    fn interface(name: &str, kind: &str, carried_by: Option<&str>) -> Interface {
        Interface {
            name: name.into(),
            index: 1,
            kind: InterfaceKind::Made(kind.into()),
            state: InterfaceState::Up,
            addresses: Vec::new(),
            default_routes: Vec::new(),
            carried_by: carried_by.map(str::to_owned),
        }
    }

    #[test]
    fn two_interfaces_on_one_wire_are_one() {
        let below = interface("eth0", "veth", None);
        let vlan = |name| interface(name, "vlan", Some("eth0"));
        let interfaces = [below, vlan("eth0.7"), vlan("eth0.8")];
        for (one, other) in [("eth0", "eth0.7"), ("eth0.7", "eth0.8")] {
            let gateway = Some(("192.0.2.1", Some("02:00:00:00:00:01")));
            let others = Some(("198.51.100.1", Some("02:00:00:00:00:02")));
            let (one, other) = (
                candidate(one, "192.0.2.7", gateway),
                candidate(other, "192.0.2.8", others),
            );
            let pair = Pair::of(&one, &other, &interfaces);
            assert_eq!(pair.really_different, Some(false), "{}", pair.why);
            assert!(pair.why.contains("carried by eth0"), "{}", pair.why);
        }
    }

    #[test]
    fn a_tunnel_is_named_as_one() {
        let interfaces = [interface("wg0", "wireguard", None)];
        let (one, other) = (
            candidate("eth0", "192.0.2.7", None),
            candidate("wg0", "192.0.2.8", None),
        );
        let pair = Pair::of(&one, &other, &interfaces);
        assert!(pair.why.contains("wg0 is a tunnel"), "{}", pair.why);
    }

    #[test]
    fn what_the_verdict_calls_dependent_is_never_called_different() {
        let one = candidate(
            "eth0",
            "192.0.2.7",
            Some(("192.0.2.1", Some("02:00:00:00:00:01"))),
        );
        let other = candidate(
            "eth0",
            "192.0.2.8",
            Some(("192.0.2.2", Some("02:00:00:00:00:02"))),
        );
        let pair = Pair::of(&one, &other, &[]);
        assert_eq!(pair.independence, Independence::SameInterfaceOtherSource);
        assert_eq!(pair.really_different, Some(false));
        assert!(pair.why.contains("eth0"), "{}", pair.why);
        let nowhere = Candidate {
            route: RouteInfo::default(),
            ..one.clone()
        };
        assert_eq!(Pair::of(&one, &nowhere, &[]).really_different, None);
    }

    #[test]
    fn pairs_that_are_two_come_first() {
        let candidates = [
            candidate("eth0", "192.0.2.7", Some(("192.0.2.1", None))),
            candidate("eth0", "192.0.2.8", Some(("192.0.2.1", None))),
            candidate("wwan0", "198.51.100.7", None),
        ];
        let found = pairs(&candidates, &[]);
        let order: Vec<_> = found.iter().map(|pair| pair.really_different).collect();
        assert_eq!(order, [Some(true), Some(true), Some(false)]);
    }
}
