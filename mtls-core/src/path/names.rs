//! Names to addresses: the system's resolver on an unbound path; the `hosts` file and DNS over the path
//! on a bound one.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Serialize, Serializer};
use tokio::time::timeout;

use super::PathSettings;
use super::address::HostAddress;
use super::endpoint::HostName;
use super::error::DialFailure;
use super::nameserver::Nameserver;
use super::socket::SocketBinding;

/// The time before the nameservers are queried beside the system's resolver: glibc waits 5 s for
/// each silent server, and for each query that is dropped.
const SYSTEM_RESOLVER_DELAY: Duration = Duration::from_secs(1);

/// The source of the addresses of a host. Displayed and serialized as `override`, `hosts`,
/// `system`, `proxy`, or the [`Nameserver`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolvedBy {
    /// [`Path::resolve`](super::Path::resolve).
    Override,
    /// The system's `hosts` file, or a name under `localhost`.
    Hosts,
    /// The system's resolver.
    System,
    /// A nameserver.
    Nameserver(Nameserver),
    /// The path's proxy.
    Proxy,
}

impl fmt::Display for ResolvedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Override => f.write_str("override"),
            Self::Hosts => f.write_str("hosts"),
            Self::System => f.write_str("system"),
            Self::Nameserver(server) => server.fmt(f),
            Self::Proxy => f.write_str("proxy"),
        }
    }
}

impl Serialize for ResolvedBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Addresses, at least one.
pub(super) struct Found {
    pub(super) addresses: Vec<HostAddress>,
    /// Those of the other family, where that has not been answered yet.
    pub(super) late: Option<BoxFuture<'static, Vec<IpAddr>>>,
    /// `None` for an address that stands for itself.
    pub(super) by: Option<ResolvedBy>,
}

/// A definite answer.
pub(super) enum Lookup {
    Found(Found),
    NoAddress,
    #[cfg_attr(
        not(feature = "dns"),
        expect(dead_code, reason = "the system does not report it")
    )]
    NoSuchName,
}

/// The resolver, in words, and its answer.
pub(super) type ResolverAnswer = (String, Result<Lookup, String>);

/// Resolves names for one path. It keeps no answers, as the system's does not, and reads the
/// system's settings for each lookup, so that it follows a host that changes networks.
pub(super) struct Resolver<'a> {
    pub(super) binding: SocketBinding,
    pub(super) settings: &'a PathSettings,
}

impl Resolver<'_> {
    /// The addresses of a name and port.
    pub(super) async fn lookup(&self, name: &HostName, port: u16) -> Result<Found, DialFailure> {
        if let Some(addresses) = self.settings.overridden(name, port) {
            return Ok(Found::now(addresses.to_vec(), ResolvedBy::Override));
        }
        self.resolve(name, &self.settings.nameservers).await
    }

    pub(super) async fn resolve(
        &self,
        name: &HostName,
        nameservers: &[Nameserver],
    ) -> Result<Found, DialFailure> {
        let (resolver, result) = if self.binding == SocketBinding::None && nameservers.is_empty() {
            self.by_system(name).await
        } else if let Some(found) = self.by_hosts(name).await {
            return Ok(found);
        } else {
            self.by_dns(name, nameservers).await
        };
        let reason = match (result, &self.binding) {
            (Ok(Lookup::Found(found)), _) => return Ok(found),
            (Ok(Lookup::NoAddress), SocketBinding::Source(source)) => {
                return Err(DialFailure::NoUsableAddress {
                    host: name.as_str().into(),
                    source: source.ip(),
                });
            }
            (Ok(Lookup::NoAddress), _) => "it has no address".into(),
            (Ok(Lookup::NoSuchName), _) => "no such name".into(),
            (Err(reason), _) => reason,
        };
        Err(DialFailure::Resolve {
            name: name.as_str().into(),
            resolver,
            reason,
        })
    }

    /// The system's resolver, and its nameservers beside it where that takes long.
    async fn by_system(&self, name: &HostName) -> ResolverAnswer {
        let mut system = by_system(name).boxed();
        if let Ok(answer) = timeout(SYSTEM_RESOLVER_DELAY, &mut system).await {
            return answer;
        }
        // Names under `.local` are for multicast DNS alone (RFC 6762, section 22.1).
        let multicast = name.as_str().trim_end_matches('.').ends_with(".local");
        tokio::select! {
            answer = &mut system => answer,
            answer @ (_, Ok(Lookup::Found(_))) = self.by_dns(name, &[]), if !multicast => answer,
        }
    }
}

impl Found {
    pub(super) fn now<A: Into<HostAddress>>(addresses: Vec<A>, by: ResolvedBy) -> Self {
        Self {
            addresses: addresses.into_iter().map(Into::into).collect(),
            late: None,
            by: Some(by),
        }
    }
}

impl From<HostAddress> for Found {
    fn from(address: HostAddress) -> Self {
        Self {
            addresses: vec![address],
            late: None,
            by: None,
        }
    }
}

async fn by_system(name: &HostName) -> ResolverAnswer {
    let answer = match tokio::net::lookup_host((name.as_str(), 0)).await {
        Ok(found) => match found.map(|address| address.ip()).collect::<Vec<_>>() {
            none if none.is_empty() => Ok(Lookup::NoAddress),
            addresses => Ok(Lookup::Found(Found::now(addresses, ResolvedBy::System))),
        },
        Err(error) => Err(error.to_string()),
    };
    ("asked the system's resolver".into(), answer)
}

#[cfg(not(feature = "dns"))]
impl Resolver<'_> {
    async fn by_hosts(&self, _: &HostName) -> Option<Found> {
        None
    }

    async fn by_dns(&self, _: &HostName, _: &[Nameserver]) -> ResolverAnswer {
        let reason = "this program resolves no names over a bound path; give an address, or build \
                      mtls-core with its feature `dns`";
        ("asked no resolver".into(), Err(reason.into()))
    }
}
