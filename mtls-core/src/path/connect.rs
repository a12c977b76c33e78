//! One dial: addresses, sockets, and the proxy's consent.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::address::HostAddress;
use super::endpoint::{Endpoint, Host};
use super::error::{DialError, DialFailure, DialStage, ProxyRefusal};
use super::independence::{Route, RouteInfo};
use super::kind::{PathKind, SubflowSource};
use super::names::{Found, ResolvedBy, Resolver};
#[cfg(feature = "route")]
pub(super) use super::route::interface;
use super::socket::{SocketBinding, defer_syn, device};
use super::{Dialed, PathSettings, http_connect, socks5};

/// The most addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;

/// The time before the next address is tried in parallel (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// One dial.
pub(super) struct Dialler {
    pub(super) settings: Arc<PathSettings>,
    pub(super) to: Endpoint,
}

impl Dialler {
    pub(super) async fn run(self) -> Result<Dialed<TcpStream>, DialError> {
        let deadline = Deadline::after(self.settings.connect_timeout);
        let result = match self.settings.kind.proxy() {
            None => self.connect(&self.to, deadline).await,
            Some(proxy) => self.connect_through(proxy, deadline).await,
        };
        match result {
            Ok(connected) => Ok(self.dialed(connected)),
            Err(reason) => Err(DialError {
                via: self.settings.kind.clone(),
                to: self.to,
                reason,
            }),
        }
    }

    /// Resolves and connects, to the target or to the proxy.
    async fn connect(&self, to: &Endpoint, deadline: Deadline) -> Result<Connected, DialFailure> {
        let found = deadline
            .bound(DialStage::Resolving, self.addresses(to))
            .await?;
        let addresses = self.usable(to, found.addresses)?;
        let late = Late {
            addresses: found.late,
            port: to.port,
        };
        let sockets = SocketSettings {
            binding: self.binding(),
            fast_open: self.settings.fast_open && !self.settings.mptcp,
            mptcp: self.settings.mptcp,
        };
        let connecting = connect_any(&sockets, addresses, late);
        let (stream, address) = deadline.bound(DialStage::Connecting, connecting).await?;
        Ok(Connected {
            stream,
            address,
            resolver: found.by,
        })
    }

    /// Connects to the proxy and asks it for the target, for one address after the other where
    /// the caller named addresses.
    async fn connect_through(
        &self,
        proxy: &Endpoint,
        deadline: Deadline,
    ) -> Result<Connected, DialFailure> {
        self.refuse_zone(proxy)?;
        let (first, others) = self.proxy_targets();
        let mut result = self.tunnel(proxy, &first, deadline).await;
        for target in others {
            match result {
                Err(DialFailure::Proxy { .. }) => {}
                done => return done,
            }
            result = self.tunnel(proxy, &target, deadline).await;
        }
        result
    }

    /// Zones are local to a host (RFC 4007, section 6).
    fn refuse_zone(&self, proxy: &Endpoint) -> Result<(), DialFailure> {
        match &self.to.host {
            Host::Ip(address) if address.zone().is_some() => Err(DialFailure::Proxy {
                proxy: proxy.clone(),
                refusal: ProxyRefusal::Zone,
            }),
            _ => Ok(()),
        }
    }

    async fn tunnel(
        &self,
        proxy: &Endpoint,
        target: &Endpoint,
        deadline: Deadline,
    ) -> Result<Connected, DialFailure> {
        let mut connected = self.connect(proxy, deadline).await?;
        let stream = &mut connected.stream;
        let credentials = self.settings.credentials.as_deref();
        let consent = async {
            let answer = match &self.settings.kind {
                PathKind::Socks5(_) => socks5::connect(stream, target, credentials).await,
                _ => http_connect::connect(stream, target, credentials).await,
            };
            answer.map_err(|refusal: ProxyRefusal| DialFailure::Proxy {
                proxy: proxy.clone(),
                refusal,
            })
        };
        deadline.bound(DialStage::AwaitingProxy, consent).await?;
        connected.resolver = match (&self.to.host, &target.host) {
            (Host::Ip(_), _) => None,
            (Host::Name(_), Host::Ip(_)) => Some(ResolvedBy::Override),
            (Host::Name(_), Host::Name(_)) => Some(ResolvedBy::Proxy),
        };
        Ok(connected)
    }

    /// The targets of the request to the proxy: the name, unless the caller overrode it.
    fn proxy_targets(&self) -> (Endpoint, Vec<Endpoint>) {
        let overridden = match &self.to.host {
            Host::Name(name) => self.settings.overridden(name, self.to.port),
            Host::Ip(_) => None,
        };
        let endpoint = |address: &HostAddress| Endpoint::new(address.clone(), self.to.port);
        match overridden {
            Some([first, others @ ..]) => {
                let others = others
                    .iter()
                    .take(MAX_ADDRESSES - 1)
                    .map(endpoint)
                    .collect();
                (endpoint(first), others)
            }
            _ => (self.to.clone(), Vec::new()),
        }
    }

    pub(super) async fn addresses(&self, to: &Endpoint) -> Result<Found, DialFailure> {
        let name = match &to.host {
            Host::Ip(address) => return Ok(address.clone().into()),
            Host::Name(name) => name,
        };
        let resolver = Resolver {
            binding: self.binding(),
            settings: &self.settings,
        };
        resolver.lookup(name, to.port).await
    }

    /// Drops what the source cannot reach, alternates the families (RFC 8305, section 4), and
    /// bounds the number.
    pub(super) fn usable(
        &self,
        to: &Endpoint,
        addresses: Vec<HostAddress>,
    ) -> Result<Vec<SocketAddr>, DialFailure> {
        let source = match self.binding() {
            SocketBinding::Source(source) => Some(source.ip()),
            SocketBinding::None | SocketBinding::Interface(_) => None,
        };
        let reaches = |to: &HostAddress| source.is_none_or(|s| s.is_ipv4() == to.ip().is_ipv4());
        let usable: Vec<_> = addresses.into_iter().filter(reaches).collect();
        if let (true, Some(source)) = (usable.is_empty(), source) {
            return Err(DialFailure::NoUsableAddress {
                host: to.host.to_string(),
                source,
            });
        }
        let ordered = alternate_families(usable).into_iter().take(MAX_ADDRESSES);
        ordered.map(|address| in_zone(&address, to.port)).collect()
    }

    pub(super) fn binding(&self) -> SocketBinding {
        match &self.settings.kind {
            PathKind::Interface(name) | PathKind::Mptcp(SubflowSource::Interface(name)) => {
                SocketBinding::Interface(name.as_str().into())
            }
            PathKind::Source(address) | PathKind::Mptcp(SubflowSource::Source(address)) => {
                SocketBinding::Source(address.clone())
            }
            PathKind::Direct | PathKind::Socks5(_) | PathKind::HttpConnect(_) => {
                SocketBinding::None
            }
        }
    }

    fn dialed(&self, connected: Connected) -> Dialed<TcpStream> {
        let (stream, peer) = (connected.stream, connected.address);
        let local = stream.local_addr().ok();
        let proxy = self.settings.kind.proxy().map(Endpoint::to_string);
        let device = match self.settings.kind {
            PathKind::Interface(_) | PathKind::Mptcp(_) => device(&stream),
            _ => None,
        };
        let route = Route::lazy(move || RouteInfo {
            interface: device.or_else(|| interface(local?, peer)),
            source: local.map(|local| local.ip()),
            proxy_address: proxy.as_ref().map(|_| peer),
            proxy,
        });
        Dialed {
            stream,
            local,
            peer: Some(peer),
            via: self.settings.kind.clone(),
            resolver: connected.resolver,
            route,
            mptcp: self.settings.mptcp,
        }
    }
}

/// Not known without the kernel's routes.
#[cfg(not(feature = "route"))]
pub(super) fn interface(_: SocketAddr, _: SocketAddr) -> Option<String> {
    None
}

struct Connected {
    stream: TcpStream,
    /// The address that took it: the system forgets it when the peer resets.
    address: SocketAddr,
    resolver: Option<ResolvedBy>,
}

/// The end of a dial's time.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    pub(super) fn after(after: Duration) -> Self {
        // A time beyond what the clock can count is as good as a year.
        let now = Instant::now();
        let year = Duration::from_secs(365 * 24 * 3600);
        Self {
            at: now.checked_add(after).unwrap_or(now + year),
            after,
        }
    }

    pub(super) async fn bound<T>(
        self,
        stage: DialStage,
        work: impl Future<Output = Result<T, DialFailure>>,
    ) -> Result<T, DialFailure> {
        match timeout_at(self.at, work).await {
            Ok(result) => result,
            Err(_) => Err(DialFailure::TimedOut {
                stage,
                after: self.after,
            }),
        }
    }
}

/// Settings of the sockets of one dial.
struct SocketSettings {
    binding: SocketBinding,
    fast_open: bool,
    mptcp: bool,
}

impl SocketSettings {
    fn socket(&self, peer: SocketAddr) -> Result<TcpSocket, DialFailure> {
        match self.mptcp {
            true => self.binding.mptcp_socket(peer),
            false => self.binding.tcp_socket(peer),
        }
    }
}

/// Addresses that may still come.
struct Late {
    addresses: Option<BoxFuture<'static, Vec<IpAddr>>>,
    port: u16,
}

/// Tries the addresses one beside the other, the late ones after the others (RFC 8305, section 5).
async fn connect_any(
    sockets: &SocketSettings,
    addresses: Vec<SocketAddr>,
    late: Late,
) -> Result<(TcpStream, SocketAddr), DialFailure> {
    // Such a connection is there before the peer has answered, so it would win over all others.
    let fast_open = sockets.fast_open && addresses.len() == 1 && late.addresses.is_none();
    let port = late.port;
    let late = stream::iter(late.addresses)
        .then(|late| late)
        .flat_map(stream::iter)
        .map(|ip| SocketAddr::new(ip, port));
    let addresses = stream::iter(addresses).chain(late).take(MAX_ADDRESSES);
    let attempts = addresses.map(|address| connect_one(sockets, address, fast_open));
    let connected = staggered(attempts, ATTEMPT_DELAY).await;
    connected.unwrap_or_else(|| Err(no_address()))
}

/// Starts attempts one after the other, each `delay` after the one before or as soon as one fails.
/// The first success wins; where none succeeds, the first failure is returned. `None` without any
/// attempt.
pub(super) async fn staggered<T, E, F>(
    attempts: impl Stream<Item = F>,
    delay: Duration,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = core::pin::pin!(attempts.fuse());
    let mut running = FuturesUnordered::new();
    let (mut failure, mut next) = (None, Instant::now());
    loop {
        let is_due = running.is_empty() || next <= Instant::now();
        tokio::select! {
            biased;
            Some(result) = running.next() => match result {
                Ok(success) => return Some(Ok(success)),
                Err(error) => {
                    failure = failure.or(Some(error));
                    next = Instant::now();
                }
            },
            Some(attempt) = waiting.next(), if is_due => {
                running.push(attempt);
                next = Instant::now() + delay;
            }
            () = sleep_until(next), if !is_due => {}
            else => return failure.map(Err),
        }
    }
}

fn no_address() -> DialFailure {
    let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    DialFailure::Other(Arc::new(error))
}

async fn connect_one(
    sockets: &SocketSettings,
    address: SocketAddr,
    fast_open: bool,
) -> Result<(TcpStream, SocketAddr), DialFailure> {
    let socket = sockets.socket(address)?;
    if fast_open {
        defer_syn(&socket);
    }
    match socket.connect(address).await {
        Ok(stream) => Ok((stream, address)),
        Err(error) => Err(DialFailure::Connect {
            address,
            error: Arc::new(error),
        }),
    }
}

/// The resolver's order, with the families taking turns.
fn alternate_families(addresses: Vec<HostAddress>) -> Vec<HostAddress> {
    let is_v4 = |address: &HostAddress| address.ip().is_ipv4();
    let v4_first = addresses.first().is_some_and(is_v4);
    let len = addresses.len();
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| is_v4(address) == v4_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(len);
    while ordered.len() < len {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

fn in_zone(address: &HostAddress, port: u16) -> Result<SocketAddr, DialFailure> {
    let found = address.socket_address(port);
    found.map_err(|error| DialFailure::Interface {
        name: address.zone().unwrap_or_default().into(),
        error: error.into(),
    })
}
