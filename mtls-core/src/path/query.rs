//! Queries over one path: A and AAAA at a time, one nameserver after the other.

use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::time::Duration;
use std::io;
#[cfg(feature = "encrypted-dns")]
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{
    RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use hickory_resolver::proto::rr::RecordType;
#[cfg(feature = "encrypted-dns")]
use rustls::ClientConfig;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::connect::staggered;
use super::endpoint::HostName;
use super::names::{Found, Lookup, ResolvedBy};
use super::nameserver::Nameserver;
use super::socket::SocketBinding;

/// The time that an answer for one family waits for the other's (RFC 8305, section 3).
pub(super) const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The time before the next nameserver is queried in parallel.
const NAMESERVER_DELAY: Duration = Duration::from_millis(500);

/// The most domains in which a name is searched, as in `resolv.conf`.
const MAX_SEARCH: usize = 6;

/// The nameservers for a path, and the names that a name stands for.
pub(super) struct Dns {
    pub(super) servers: Vec<Server>,
    pub(super) search: Search,
}

/// The search list of `resolv.conf`.
#[derive(Default)]
pub(super) struct Search {
    domains: Vec<String>,
    ndots: usize,
}

/// One nameserver, and how it is asked.
pub(super) struct Server {
    /// As it was named.
    pub(super) name: Nameserver,
    /// Its address; a name has been resolved.
    pub(super) ip: IpAddr,
    pub(super) binding: SocketBinding,
    #[cfg(feature = "encrypted-dns")]
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Dns {
    /// Asks one server after the other, each [`NAMESERVER_DELAY`] after the one before or as soon
    /// as one fails. The first answer decides, also one that says that there is no such name.
    pub(super) async fn lookup(&self, name: &HostName) -> Result<Lookup, String> {
        let names = self.search.names(name);
        let asking = self.servers.iter().map(|server| server.lookup(&names));
        let answer = staggered(stream::iter(asking), NAMESERVER_DELAY).await;
        answer.unwrap_or_else(|| Err("no nameserver".into()))
    }

    /// The servers, in words.
    pub(super) fn describe(&self) -> String {
        let names: Vec<_> = self.servers.iter().map(|s| s.name.to_string()).collect();
        let binding = self.servers.first().map(|server| &server.binding);
        let names = names.join(", ");
        match binding {
            Some(SocketBinding::Interface(name)) => {
                format!("asked {names} through the interface `{name}`")
            }
            Some(SocketBinding::Source(source)) => format!("asked {names} from {source}"),
            Some(SocketBinding::None) | None => format!("asked {names}"),
        }
    }
}

impl Search {
    pub(super) fn of(config: &ResolverConfig, options: &ResolverOpts) -> Self {
        let domains = config.search().iter().take(MAX_SEARCH);
        Self {
            domains: domains.map(|name| name.to_ascii()).collect(),
            ndots: options.ndots,
        }
    }

    /// The absolute names to look up, in this order (resolv.conf(5)).
    fn names(&self, name: &HostName) -> Vec<String> {
        let name = name.as_str();
        if name.ends_with('.') {
            return vec![name.into()];
        }
        let in_domain = |domain: &String| format!("{name}.{}.", domain.trim_matches('.'));
        let mut names: Vec<_> = self.domains.iter().map(in_domain).collect();
        let first = name.matches('.').count() >= self.ndots.max(1);
        names.insert(if first { 0 } else { names.len() }, format!("{name}."));
        names
    }
}

/// A nameserver's answer for one name and type.
enum Answer {
    /// Perhaps none.
    Addresses(Vec<IpAddr>),
    NoSuchName,
}

impl Answer {
    fn addresses(self) -> Vec<IpAddr> {
        match self {
            Self::Addresses(addresses) => addresses,
            Self::NoSuchName => Vec::new(),
        }
    }

    fn has_addresses(&self) -> bool {
        matches!(self, Self::Addresses(addresses) if !addresses.is_empty())
    }
}

type Query = BoxFuture<'static, Result<Answer, NetError>>;

impl Server {
    /// The addresses of the first of these names that has some.
    async fn lookup(&self, names: &[String]) -> Result<Lookup, String> {
        let resolver = self.resolver().map_err(|error| error.to_string())?;
        let mut none = Lookup::NoSuchName;
        for name in names {
            let query = |kind| query(resolver.clone(), name.clone(), kind);
            let four = self.binding.reaches_ipv4().then(|| query(RecordType::A));
            let six = self.binding.reaches_ipv6().then(|| query(RecordType::AAAA));
            let (answer, late) = both(six, four).await.map_err(|error| error.to_string())?;
            match answer {
                Answer::NoSuchName => {}
                Answer::Addresses(none_here) if none_here.is_empty() => none = Lookup::NoAddress,
                Answer::Addresses(addresses) => {
                    return Ok(Lookup::Found(Found {
                        addresses: addresses.into_iter().map(Into::into).collect(),
                        late: late.map(in_time),
                        by: Some(ResolvedBy::Nameserver(self.name.clone())),
                    }));
                }
            }
        }
        Ok(none)
    }

    fn resolver(&self) -> Result<BoundResolver, NetError> {
        let mut options = ResolverOpts::default();
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        // As glibc: some servers do not know it, and some firewalls drop it.
        options.edns0 = false;
        let config = NameServerConfig::new(self.ip, true, connections(&self.name)?);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![config]);
        let provider = BoundProvider {
            binding: self.binding.clone(),
            inner: TokioRuntimeProvider::new(),
        };
        let builder = BoundResolver::builder_with_config(config, provider).with_options(options);
        with_tls(builder, self)?.build()
    }
}

/// A late answer that fails brings no address.
fn in_time(late: Query) -> BoxFuture<'static, Vec<IpAddr>> {
    late.map(|answer| answer.map(Answer::addresses).unwrap_or_default())
        .boxed()
}

type BoundResolver = hickory_resolver::Resolver<BoundProvider>;
type Builder = hickory_resolver::ResolverBuilder<BoundProvider>;

fn query(resolver: BoundResolver, name: String, kind: RecordType) -> Query {
    async move {
        match resolver.lookup(name, kind).await {
            Ok(found) => {
                let records = found.answers().iter();
                let addresses = records.filter_map(|record| record.data.ip_addr());
                Ok(Answer::Addresses(addresses.collect()))
            }
            Err(error) if error.is_nx_domain() => Ok(Answer::NoSuchName),
            Err(error) if error.is_no_records_found() => Ok(Answer::Addresses(Vec::new())),
            Err(error) => Err(error),
        }
    }
    .boxed()
}

/// The two answers together, or the first one and the query that is still open. Some servers and
/// firewalls drop AAAA queries, or answer them with an error where there is an A record.
async fn both(
    six: Option<Query>,
    four: Option<Query>,
) -> Result<(Answer, Option<Query>), NetError> {
    let (mut six, mut four) = match (six, four) {
        (Some(six), Some(four)) => (six, four),
        (Some(only), None) | (None, Some(only)) => return Ok((only.await?, None)),
        (None, None) => return Ok((Answer::Addresses(Vec::new()), None)),
    };
    tokio::select! {
        answer = &mut six => match answer {
            Ok(answer) if answer.has_addresses() => Ok((answer, Some(four))),
            answer => merged(answer, four.await),
        },
        answer = &mut four => match answer {
            Ok(answer) if answer.has_addresses() => match timeout(RESOLUTION_DELAY, &mut six).await {
                Ok(other) => merged(other, Ok(answer)),
                Err(_) => Ok((answer, Some(six))),
            },
            // No name has an AAAA record that does not exist.
            Ok(Answer::NoSuchName) => match timeout(RESOLUTION_DELAY, &mut six).await {
                Ok(other) => merged(other, Ok(Answer::NoSuchName)),
                Err(_) => Ok((Answer::NoSuchName, None)),
            },
            answer => merged(six.await, answer),
        },
    }
}

/// A failure counts only where the other family has no address; that there is no such name, only
/// where both say so.
fn merged(
    six: Result<Answer, NetError>,
    four: Result<Answer, NetError>,
) -> Result<(Answer, Option<Query>), NetError> {
    let answer = match (six, four) {
        (Ok(Answer::NoSuchName), Ok(Answer::NoSuchName)) => Answer::NoSuchName,
        (Ok(six), Ok(four)) => Answer::Addresses([six.addresses(), four.addresses()].concat()),
        (Ok(answer), Err(_)) | (Err(_), Ok(answer)) if answer.has_addresses() => answer,
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    Ok((answer, None))
}

fn connections(name: &Nameserver) -> Result<Vec<ConnectionConfig>, NetError> {
    let (connections, port) = match name {
        Nameserver::Plain(address) => (
            vec![ConnectionConfig::udp(), ConnectionConfig::tcp()],
            address.port(),
        ),
        Nameserver::Tls(endpoint) => (vec![encrypted(endpoint, None)?], endpoint.port),
        Nameserver::Https(endpoint, path) => {
            (vec![encrypted(endpoint, Some(path))?], endpoint.port)
        }
    };
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = port;
        connection
    };
    Ok(connections.into_iter().map(at_port).collect())
}

/// By HTTPS at a path, else by TLS.
#[cfg(feature = "encrypted-dns")]
fn encrypted(
    endpoint: &super::endpoint::Endpoint,
    path: Option<&str>,
) -> Result<ConnectionConfig, NetError> {
    use super::endpoint::Host;
    let name: Arc<str> = match &endpoint.host {
        Host::Name(name) => name.as_str().trim_end_matches('.').into(),
        Host::Ip(ip) => ip.to_string().into(),
    };
    Ok(match path {
        Some(path) => ConnectionConfig::https(name, Some(path.into())),
        None => ConnectionConfig::tls(name),
    })
}

#[cfg(not(feature = "encrypted-dns"))]
fn encrypted(_: &super::endpoint::Endpoint, _: Option<&str>) -> Result<ConnectionConfig, NetError> {
    Err(NetError::from(
        "this build has no DNS over TLS or HTTPS; enable the feature `encrypted-dns`",
    ))
}

#[cfg(feature = "encrypted-dns")]
fn with_tls(builder: Builder, server: &Server) -> Result<Builder, NetError> {
    match (&server.tls, &server.name) {
        (_, Nameserver::Plain(_)) => Ok(builder),
        (Some(config), _) => {
            let mut config = ClientConfig::clone(config);
            // hickory offers what the protocol wants.
            config.alpn_protocols.clear();
            Ok(builder.with_tls_config(config))
        }
        (None, _) => Err(NetError::from(
            "no TLS configuration for nameservers; set one with `Path::nameserver_tls`",
        )),
    }
}

#[cfg(not(feature = "encrypted-dns"))]
fn with_tls(builder: Builder, _: &Server) -> Result<Builder, NetError> {
    Ok(builder)
}

/// Gives the resolver sockets that are bound as the path's are.
#[derive(Clone)]
struct BoundProvider {
    binding: SocketBinding,
    inner: TokioRuntimeProvider,
}

type BoxIo<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl RuntimeProvider for BoundProvider {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> TokioHandle {
        self.inner.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _bind: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> BoxIo<Self::Tcp> {
        let socket = self.binding.tcp_socket(server);
        Box::pin(async move {
            let socket = socket.map_err(|failure| io::Error::other(failure.to_string()))?;
            // The dial's own deadline bounds it in any case.
            let timeout = timeout.unwrap_or(super::DEFAULT_CONNECT_TIMEOUT);
            let stream = tokio::time::timeout(timeout, socket.connect(server)).await??;
            Ok(AsyncIoTokioAsStd(stream))
        })
    }

    fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> BoxIo<UdpSocket> {
        let socket = self.binding.udp_socket(local);
        let socket = socket.and_then(UdpSocket::from_std);
        Box::pin(async move { socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_searched_first_and_long_ones_last() {
        let search = Search {
            domains: vec!["corp.test.".into(), "lan".into()],
            ndots: 1,
        };
        for (name, expected) in [
            ("web", &["web.corp.test.", "web.lan.", "web."][..]),
            ("a.test", &["a.test.", "a.test.corp.test.", "a.test.lan."]),
            ("a.test.", &["a.test."]),
        ] {
            assert_eq!(search.names(&HostName::new(name).unwrap()), expected);
        }
        let names = Search::default().names(&HostName::new("web").unwrap());
        assert_eq!(names, ["web."]);
    }
}
