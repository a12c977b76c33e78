//! One dial: addresses, sockets, and the proxy's consent.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::endpoint::{Endpoint, Host};
use super::error::{DialError, DialFailure, DialStage, ProxyRefusal};
use super::independence::{Route, RouteInfo};
use super::kind::PathKind;
#[cfg(feature = "route")]
use super::route::interface;
use super::socket::{SocketBinding, defer_syn, device};
use super::{Dialed, Settings, http_connect, names, socks5};

/// How many addresses of one host are tried at most.
const MAX_ADDRESSES: usize = 8;

/// How long one address has before the next one is tried beside it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// One dial.
pub(super) struct Dialler {
    pub(super) settings: Arc<Settings>,
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
        let addresses = deadline
            .bound(DialStage::Resolving, self.addresses(to))
            .await?;
        let addresses = self.usable(to, addresses)?;
        deadline
            .bound(
                DialStage::Connecting,
                connect_any(&self.binding(), addresses, self.settings.fast_open),
            )
            .await
    }

    /// Connects to the proxy and asks it for the target, for one address after the other where
    /// the caller named addresses.
    async fn connect_through(
        &self,
        proxy: &Endpoint,
        deadline: Deadline,
    ) -> Result<Connected, DialFailure> {
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

    async fn tunnel(
        &self,
        proxy: &Endpoint,
        target: &Endpoint,
        deadline: Deadline,
    ) -> Result<Connected, DialFailure> {
        let (mut stream, address) = self.connect(proxy, deadline).await?;
        let credentials = self.settings.credentials.as_deref();
        let consent = async {
            let answer = match &self.settings.kind {
                PathKind::Socks5(_) => socks5::ask(&mut stream, target, credentials).await,
                _ => http_connect::ask(&mut stream, target, credentials).await,
            };
            answer.map_err(|refusal: ProxyRefusal| DialFailure::Proxy {
                proxy: proxy.clone(),
                refusal,
            })
        };
        deadline.bound(DialStage::AwaitingProxy, consent).await?;
        Ok((stream, address))
    }

    /// What the proxy is asked for: the name, unless the caller overrode it.
    fn proxy_targets(&self) -> (Endpoint, Vec<Endpoint>) {
        let overridden = match &self.to.host {
            Host::Name(name) => self.settings.overridden(name, self.to.port),
            Host::Ip(_) => None,
        };
        let endpoint = |ip: &IpAddr| Endpoint::new(*ip, self.to.port);
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

    async fn addresses(&self, to: &Endpoint) -> Result<Vec<IpAddr>, DialFailure> {
        let name = match &to.host {
            Host::Ip(ip) => return Ok(vec![*ip]),
            Host::Name(name) => name,
        };
        if let Some(addresses) = self.settings.overridden(name, to.port) {
            return Ok(addresses.to_vec());
        }
        names::look_up(&self.binding(), &self.settings.nameservers, name).await
    }

    /// Drops what the source cannot reach, alternates the families (RFC 8305, section 4), and
    /// bounds the number.
    fn usable(
        &self,
        to: &Endpoint,
        addresses: Vec<IpAddr>,
    ) -> Result<Vec<SocketAddr>, DialFailure> {
        let source = match self.settings.kind {
            PathKind::Source(source) => Some(source),
            _ => None,
        };
        let reaches = |ip: &IpAddr| source.is_none_or(|s| s.is_ipv4() == ip.is_ipv4());
        let usable: Vec<_> = addresses.into_iter().filter(reaches).collect();
        if let (true, Some(source)) = (usable.is_empty(), source) {
            return Err(DialFailure::NoUsableAddress {
                host: to.host.to_string(),
                source,
            });
        }
        let ordered = alternate_families(usable).into_iter().take(MAX_ADDRESSES);
        Ok(ordered.map(|ip| SocketAddr::new(ip, to.port)).collect())
    }

    fn binding(&self) -> SocketBinding {
        match &self.settings.kind {
            PathKind::Interface(name) => SocketBinding::Interface(name.as_str().into()),
            PathKind::Source(ip) => SocketBinding::Source(*ip),
            _ => SocketBinding::None,
        }
    }

    fn dialed(&self, (stream, peer): Connected) -> Dialed<TcpStream> {
        let local = stream.local_addr().ok();
        let proxy = self.settings.kind.proxy().map(Endpoint::to_string);
        let device = device(&stream);
        let route = Route::asked(move || RouteInfo {
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
            route,
        }
    }
}

/// Not known without the kernel's routes.
#[cfg(not(feature = "route"))]
fn interface(_: SocketAddr, _: SocketAddr) -> Option<String> {
    None
}

/// A connection, and the address that took it: the system forgets it when the peer resets.
type Connected = (TcpStream, SocketAddr);

/// The end of a dial's time.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    fn after(after: Duration) -> Self {
        // A time beyond what the clock can count is as good as a year.
        let now = Instant::now();
        let year = Duration::from_secs(365 * 24 * 3600);
        Self {
            at: now.checked_add(after).unwrap_or(now + year),
            after,
        }
    }

    async fn bound<T>(
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

/// Tries the addresses one beside the other, each [`ATTEMPT_DELAY`] after the one before or as
/// soon as one fails (RFC 8305, section 5). The first connection wins; where none comes about, the
/// first failure tells.
async fn connect_any(
    binding: &SocketBinding,
    addresses: Vec<SocketAddr>,
    fast_open: bool,
) -> Result<Connected, DialFailure> {
    // Such a connection is there before the peer has answered, so it would win over all others.
    let fast_open = fast_open && addresses.len() == 1;
    let mut queue = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    loop {
        if let Some(address) = queue.next() {
            attempts.push(connect_one(binding, address, fast_open));
        }
        let more = !queue.as_slice().is_empty();
        tokio::select! {
            result = attempts.next() => match result {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failure = failure.or(Some(error)),
                None => return Err(failure.unwrap_or_else(no_address)),
            },
            () = sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

fn no_address() -> DialFailure {
    let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    DialFailure::Other(Arc::new(error))
}

async fn connect_one(
    binding: &SocketBinding,
    address: SocketAddr,
    fast_open: bool,
) -> Result<Connected, DialFailure> {
    let socket = binding.tcp_socket(address)?;
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
fn alternate_families(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let v4_first = addresses.first().is_some_and(IpAddr::is_ipv4);
    let len = addresses.len();
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|ip| ip.is_ipv4() == v4_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(len);
    while ordered.len() < len {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}
