//! The independence of two connections, from the definitions of their paths and the kernel's routes.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Serialize, Serializer};

/// The route of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RouteInfo {
    /// The interface that it leaves by: the one that the path is bound to, or what the kernel
    /// answered when asked for the route. `None` when neither is known.
    pub interface: Option<String>,
    /// Its address on this host.
    pub source: Option<IpAddr>,
    /// The proxy as `HOST:PORT`, where there is one; `interface` and `source` are then those of
    /// the connection to it.
    pub proxy: Option<String>,
    /// The proxy's address.
    pub proxy_address: Option<SocketAddr>,
}

impl RouteInfo {
    fn same_proxy(&self, other: &Self) -> bool {
        let same_address =
            self.proxy_address.is_some() && self.proxy_address == other.proxy_address;
        self.proxy == other.proxy || same_address
    }
}

/// A [`RouteInfo`] that is found out when it is first looked at: a question to the kernel takes
/// some µs, for which no handshake should wait. Clones share the answer.
#[derive(Clone)]
pub struct Route(Arc<LazyLock<RouteInfo, RouteLookup>>);

type RouteLookup = Box<dyn FnOnce() -> RouteInfo + Send>;

impl Route {
    /// A route that `lookup` finds out.
    pub fn lazy(lookup: impl FnOnce() -> RouteInfo + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(lookup))))
    }
}

impl From<RouteInfo> for Route {
    fn from(route: RouteInfo) -> Self {
        Self::lazy(move || route)
    }
}

impl Deref for Route {
    type Target = RouteInfo;

    fn deref(&self) -> &RouteInfo {
        &self.0
    }
}

/// Without asking.
impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Route").finish_non_exhaustive()
    }
}

/// The independence of two connections. Serialized as [`as_str`](Self::as_str).
///
/// Layers below an interface are not examined: a tunnel and the interface that carries it count as
/// two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Independence {
    /// One goes through a proxy and the other does not, or they go through two proxies of
    /// different address.
    Proxied,
    /// They leave by two interfaces.
    DifferentInterface,
    /// They leave by one interface, from two addresses.
    SameInterfaceOtherSource,
    /// They leave by one interface from one address, or through one proxy.
    Same,
    /// Not known, so not independent.
    Unknown,
}

impl Independence {
    /// Compares two connections.
    #[must_use]
    pub fn between(one: &RouteInfo, other: &RouteInfo) -> Self {
        match (&one.proxy, &other.proxy) {
            (None, None) => Self::of_unproxied(one, other),
            (Some(_), Some(_)) if one.same_proxy(other) => Self::Same,
            _ => Self::Proxied,
        }
    }

    fn of_unproxied(one: &RouteInfo, other: &RouteInfo) -> Self {
        let (Some(interface), Some(other_interface)) = (&one.interface, &other.interface) else {
            return Self::Unknown;
        };
        if interface != other_interface {
            return Self::DifferentInterface;
        }
        match (one.source, other.source) {
            (Some(a), Some(b)) if a == b => Self::Same,
            (Some(_), Some(_)) => Self::SameInterfaceOtherSource,
            _ => Self::Unknown,
        }
    }

    /// The weakest of several; unknown counts as the weakest of all, and is that of none.
    pub(crate) fn weakest(all: impl IntoIterator<Item = Self>) -> Self {
        let strength = |independence: &Self| match independence {
            Self::DifferentInterface => 4,
            Self::Proxied => 3,
            Self::SameInterfaceOtherSource => 2,
            Self::Same => 1,
            Self::Unknown => 0,
        };
        let weakest = all.into_iter().min_by_key(strength);
        weakest.unwrap_or(Self::Unknown)
    }

    /// Returns whether it satisfies a policy that demands independence.
    #[must_use]
    pub fn is_independent(self) -> bool {
        match self {
            Self::Proxied | Self::DifferentInterface => true,
            Self::SameInterfaceOtherSource | Self::Same | Self::Unknown => false,
        }
    }

    /// Its name: `proxied`, `different-interface`, `same-interface-other-source`, `same` or
    /// `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxied => "proxied",
            Self::DifferentInterface => "different-interface",
            Self::SameInterfaceOtherSource => "same-interface-other-source",
            Self::Same => "same",
            Self::Unknown => "unknown",
        }
    }
}

/// A sentence for people; programs read [`as_str`](Independence::as_str).
impl fmt::Display for Independence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proxied => "a proxy stands on one of the paths only, or another on each",
            Self::DifferentInterface => "the paths leave by different interfaces",
            Self::SameInterfaceOtherSource => {
                "the paths leave by the same interface, from different addresses"
            }
            Self::Same => "the paths are the same as far as this host can see",
            Self::Unknown => "it is not known whether the paths are independent",
        })
    }
}

impl Serialize for Independence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Independence::*;

    fn route(interface: &str, source: &str) -> RouteInfo {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        RouteInfo {
            interface: known(interface),
            source: known(source).map(|ip| ip.parse().unwrap()),
            ..RouteInfo::default()
        }
    }

    fn proxied(proxy: &str, address: &str) -> RouteInfo {
        RouteInfo {
            proxy: Some(proxy.into()),
            proxy_address: Some(address.parse().unwrap()),
            ..route("eth0", "192.0.2.1")
        }
    }

    #[test]
    fn every_pair_of_routes_is_called_what_it_is() {
        let direct = || route("eth0", "192.0.2.1");
        let proxy = || proxied("proxy.test:1080", "192.0.2.9:1080");
        let table = [
            (direct(), direct(), Same),
            (
                direct(),
                route("eth0", "192.0.2.2"),
                SameInterfaceOtherSource,
            ),
            (
                route("lo", "127.0.0.1"),
                route("lo", "127.0.0.2"),
                SameInterfaceOtherSource,
            ),
            (direct(), route("wwan0", "198.51.100.1"), DifferentInterface),
            (direct(), route("wwan0", ""), DifferentInterface),
            (direct(), route("wwan0", "192.0.2.1"), DifferentInterface),
            (direct(), route("eth0", ""), Unknown),
            (direct(), route("", "192.0.2.1"), Unknown),
            (direct(), route("", "198.51.100.1"), Unknown),
            (route("", ""), route("", ""), Unknown),
            (direct(), proxy(), Proxied),
            (route("", ""), proxy(), Proxied),
            (proxy(), proxy(), Same),
            (proxy(), proxied("192.0.2.9:1080", "192.0.2.9:1080"), Same),
            (proxy(), proxied("proxy.test:1080", "192.0.2.10:1080"), Same),
            (
                proxy(),
                proxied("other.test:1080", "192.0.2.10:1080"),
                Proxied,
            ),
        ];
        for (one, other, expected) in table {
            assert_eq!(
                Independence::between(&one, &other),
                expected,
                "{one:?} {other:?}"
            );
            assert_eq!(
                Independence::between(&other, &one),
                expected,
                "{other:?} {one:?}"
            );
        }
    }

    #[test]
    fn only_proxies_and_interfaces_make_independent() {
        let all = [
            Proxied,
            DifferentInterface,
            SameInterfaceOtherSource,
            Same,
            Unknown,
        ];
        let independent: Vec<_> = all.into_iter().filter(|i| i.is_independent()).collect();
        assert_eq!(independent, [Proxied, DifferentInterface]);
    }

    #[test]
    fn it_is_serialized_by_its_name() {
        let text = serde_json::to_string(&SameInterfaceOtherSource).unwrap();
        assert_eq!(text, "\"same-interface-other-source\"");
        assert_eq!(Unknown.as_str(), "unknown");
    }
}
