//! DNS over a bound path, so that the question takes the same way as the connection.

use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::time::Duration;
use std::io;

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{
    RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use hickory_resolver::system_conf::read_system_conf;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};

use super::endpoint::HostName;
use super::socket::{SocketBinding, bind_device};

/// Where systemd-resolved names the servers that its loopback stub asks.
const RESOLVED_UPSTREAMS: &str = "/run/systemd/resolve/resolv.conf";

/// Describes the servers that are asked, and returns their answer. Without nameservers those of
/// the system are asked. Nothing is cached, as the system's resolver caches nothing, and the
/// system's settings are read for each lookup, so that a host may change networks.
pub(super) async fn look_up(
    binding: &SocketBinding,
    nameservers: &[SocketAddr],
    name: &HostName,
) -> (String, Result<Vec<IpAddr>, String>) {
    let (binding, set) = (binding.clone(), nameservers.to_vec());
    // The settings and the hosts file are read from disk.
    let build = tokio::task::spawn_blocking(move || build(binding, &set));
    let (described, resolver) = match build.await {
        Ok(Ok(built)) => built,
        Ok(Err(reason)) => return ("found no nameserver to ask".into(), Err(reason)),
        Err(error) => return ("the lookup was given up".into(), Err(error.to_string())),
    };
    match resolver.lookup_ip(name.as_str()).await {
        Ok(found) => (described, Ok(found.iter().collect())),
        Err(error) if error.is_nx_domain() => (described, Err("no such name".into())),
        Err(error) if error.is_no_records_found() => (described, Ok(Vec::new())),
        Err(error) => (described, Err(error.to_string())),
    }
}

type BoundResolver = hickory_resolver::Resolver<BoundProvider>;

/// A resolver, and who it will ask, in words.
fn build(binding: SocketBinding, set: &[SocketAddr]) -> Result<(String, BoundResolver), String> {
    let (config, mut options) = match set {
        [] => system_settings(&binding)?,
        set => (with_nameservers(set), ResolverOpts::default()),
    };
    let config = keep_servers(config, |ip| binding.has_family_of(ip))
        .ok_or("no nameserver has the family of the path's source; name one for the path")?;
    let described = describe(&config, &binding);
    options.use_hosts_file = ResolveHosts::Always;
    options.cache_size = 0;
    options.ip_strategy = match binding {
        SocketBinding::Source(IpAddr::V4(_)) => LookupIpStrategy::Ipv4Only,
        SocketBinding::Source(IpAddr::V6(_)) => LookupIpStrategy::Ipv6Only,
        SocketBinding::None | SocketBinding::Interface(_) => LookupIpStrategy::Ipv6AndIpv4,
    };
    let provider = BoundProvider {
        binding,
        inner: TokioRuntimeProvider::new(),
    };
    let builder = BoundResolver::builder_with_config(config, provider).with_options(options);
    let resolver = builder.build().map_err(|error| error.to_string())?;
    Ok((described, resolver))
}

type SystemSettings = (ResolverConfig, ResolverOpts);

fn system_settings(binding: &SocketBinding) -> Result<SystemSettings, String> {
    let system = read_system_conf().map_err(|error| error.to_string())?;
    if binding.is_on_loopback() {
        return Ok(system);
    }
    without_stubs(system, resolved_upstreams)
}

/// A stub on the loopback would ask over whatever route the system takes, so the servers behind
/// it are asked where they are known.
fn without_stubs(
    (config, options): SystemSettings,
    upstreams: impl FnOnce() -> Option<SystemSettings>,
) -> Result<SystemSettings, String> {
    let beyond = |config| keep_servers(config, |ip| !ip.is_loopback());
    if let Some(config) = beyond(config) {
        return Ok((config, options));
    }
    let behind = upstreams().and_then(|(config, options)| Some((beyond(config)?, options)));
    behind.ok_or_else(|| {
        "all nameservers of the system are on the loopback and would ask over another path; name \
         nameservers for this path"
            .into()
    })
}

fn resolved_upstreams() -> Option<SystemSettings> {
    let text = std::fs::read(RESOLVED_UPSTREAMS).ok()?;
    hickory_resolver::system_conf::parse_resolv_conf(text).ok()
}

/// `None` when no server is left.
fn keep_servers(config: ResolverConfig, keep: impl Fn(IpAddr) -> bool) -> Option<ResolverConfig> {
    let (domain, search, mut servers) = config.into_parts();
    servers.retain(|server| keep(server.ip));
    let some = !servers.is_empty();
    some.then(|| ResolverConfig::from_parts(domain, search, servers))
}

fn with_nameservers(set: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = address.port();
        }
        NameServerConfig::new(address.ip(), true, connections)
    };
    ResolverConfig::from_parts(None, Vec::new(), set.iter().map(server).collect())
}

fn describe(config: &ResolverConfig, binding: &SocketBinding) -> String {
    let servers: Vec<_> = config
        .name_servers()
        .iter()
        .map(|s| s.ip.to_string())
        .collect();
    let servers = servers.join(", ");
    match binding {
        SocketBinding::None => format!("asked {servers}"),
        SocketBinding::Interface(name) => format!("asked {servers} through the interface `{name}`"),
        SocketBinding::Source(source) => format!("asked {servers} from {source}"),
    }
}

impl SocketBinding {
    /// A UDP socket that is bound, to `local`'s port and, but for a source, to its address.
    fn udp_socket(&self, local: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
        let domain = Domain::for_address(local);
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        let local = match self {
            Self::None => local,
            Self::Source(source) => SocketAddr::new(*source, local.port()),
            Self::Interface(name) => {
                bind_device(&socket, name)?;
                local
            }
        };
        socket.bind(&local.into())?;
        socket.set_nonblocking(true)?;
        tokio::net::UdpSocket::from_std(socket.into())
    }

    /// Whether servers on the loopback are asked over this very path.
    fn is_on_loopback(&self) -> bool {
        match self {
            // An unbound path is the system's own.
            Self::None => true,
            Self::Interface(name) => &**name == "lo",
            Self::Source(source) => source.is_loopback(),
        }
    }

    fn has_family_of(&self, server: IpAddr) -> bool {
        match self {
            Self::Source(source) => source.is_ipv4() == server.is_ipv4(),
            Self::None | Self::Interface(_) => true,
        }
    }
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
        Box::pin(async move { socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(servers: &[&str]) -> SystemSettings {
        let server = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), 53);
        (
            with_nameservers(&servers.iter().map(server).collect::<Vec<_>>()),
            ResolverOpts::default(),
        )
    }

    fn servers(settings: Result<SystemSettings, String>) -> Result<Vec<String>, String> {
        let (config, _) = settings?;
        Ok(config
            .name_servers()
            .iter()
            .map(|server| server.ip.to_string())
            .collect())
    }

    #[test]
    fn a_stub_on_the_loopback_is_not_asked_beside_a_real_server() {
        let found = without_stubs(system(&["127.0.0.53", "192.0.2.53"]), || unreachable!());
        assert_eq!(servers(found).unwrap(), ["192.0.2.53"]);
    }

    #[test]
    fn the_servers_behind_a_lone_stub_are_asked_instead() {
        let upstreams = || Some(system(&["192.0.2.54", "2001:db8::53"]));
        let found = without_stubs(system(&["127.0.0.53"]), upstreams);
        assert_eq!(servers(found).unwrap(), ["192.0.2.54", "2001:db8::53"]);
    }

    #[test]
    fn a_lone_stub_of_unknown_upstreams_is_an_error_with_the_remedy() {
        for upstreams in [None, Some(system(&["127.0.0.1"]))] {
            let error = servers(without_stubs(system(&["::1"]), || upstreams)).unwrap_err();
            assert!(error.contains("name nameservers for this path"), "{error}");
        }
    }
}
