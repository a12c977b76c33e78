//! The nameservers of a path: those that were named, or the system's; and the `hosts` file before them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_resolver::Hosts;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::task::spawn_blocking;

use super::address::HostAddress;
use super::endpoint::{Endpoint, Host, HostName};
use super::names::{Found, ResolvedBy, Resolver, ResolverAnswer};
use super::nameserver::Nameserver;
use super::query::{Dns, Search, Server};
use super::socket::SocketBinding;

/// The most nameservers that one lookup asks, as in `resolv.conf`.
pub const MAX_NAMESERVERS: usize = 3;

/// The upstream servers of systemd-resolved's stub on the loopback.
const RESOLVED_UPSTREAMS: &str = "/run/systemd/resolve/resolv.conf";

/// The remedy in the error of a path without a nameserver.
const REMEDY: &str = "name one for this path (`--dns`, `Path::nameservers`)";

impl Resolver<'_> {
    /// Without any DNS. An address that the path cannot reach does not count.
    pub(super) async fn by_hosts(&self, name: &HostName) -> Option<Found> {
        let owned = name.clone();
        // A file that cannot be read has no names.
        let read = spawn_blocking(move || in_hosts_file(&owned)).await;
        let mut addresses = read.unwrap_or_default();
        addresses.retain(|&ip| self.binding.reaches(ip));
        if addresses.is_empty() && is_localhost(name) {
            let loopback = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
            addresses.extend(loopback.into_iter().filter(|&ip| self.binding.reaches(ip)));
        }
        (!addresses.is_empty()).then(|| Found::now(addresses, ResolvedBy::Hosts))
    }

    pub(super) async fn by_dns(
        &self,
        name: &HostName,
        nameservers: &[Nameserver],
    ) -> ResolverAnswer {
        let dns = match nameservers {
            [] => self.of_system().await,
            named => self.of_names(named).await,
        };
        match dns {
            Ok(dns) => (dns.describe(), dns.lookup(name).await),
            Err(reason) => ("found no nameserver to ask".into(), Err(reason)),
        }
    }

    async fn of_system(&self) -> Result<Dns, String> {
        let binding = self.binding.clone();
        // The settings are read from disk.
        let read = spawn_blocking(move || system_settings(&binding)).await;
        let (config, options) = read.map_err(|error| error.to_string())??;
        let servers = config.name_servers().iter();
        let servers = servers.map(|server| Server {
            name: Nameserver::Plain(SocketAddr::new(server.ip, 53)),
            ip: server.ip,
            binding: self.binding.clone(),
            #[cfg(feature = "encrypted-dns")]
            tls: None,
        });
        self.dns(servers.collect(), Search::of(&config, &options))
    }

    async fn of_names(&self, names: &[Nameserver]) -> Result<Dns, String> {
        let mut servers = Vec::with_capacity(names.len());
        for name in names.iter().take(MAX_NAMESERVERS) {
            // A resolver on this host is named on purpose; no path leads to it but the loopback.
            let binding = match name.is_on_loopback() && !self.binding.is_on_loopback() {
                true => SocketBinding::None,
                false => self.binding.clone(),
            };
            for ip in self.addresses_of(name).await? {
                servers.push(Server {
                    name: name.clone(),
                    ip,
                    binding: binding.clone(),
                    #[cfg(feature = "encrypted-dns")]
                    tls: self.settings.nameserver_tls.clone(),
                });
            }
        }
        self.dns(servers, Search::default())
    }

    /// The addresses of a nameserver. Its name, which its certificate proves, is resolved as without
    /// it.
    async fn addresses_of(&self, server: &Nameserver) -> Result<Vec<IpAddr>, String> {
        let endpoint = match server {
            Nameserver::Plain(address) => return Ok(vec![address.ip()]),
            Nameserver::Tls(endpoint) | Nameserver::Https(endpoint, _) => endpoint,
        };
        let (name, port) = match endpoint {
            Endpoint {
                host: Host::Ip(address),
                ..
            } => return Ok(vec![address.ip()]),
            Endpoint {
                host: Host::Name(name),
                port,
            } => (name, *port),
        };
        if let Some(addresses) = self.settings.overridden(name, port) {
            return Ok(addresses.iter().map(HostAddress::ip).collect());
        }
        let found = Box::pin(self.resolve(name, &[])).await;
        found
            .map(|found| found.addresses.iter().map(HostAddress::ip).collect())
            .map_err(|failure| format!("the nameserver {server}: {failure}"))
    }

    fn dns(&self, mut servers: Vec<Server>, search: Search) -> Result<Dns, String> {
        servers.retain(|server| server.binding.reaches(server.ip));
        servers.truncate(MAX_NAMESERVERS);
        match servers.is_empty() {
            true => Err(format!(
                "no nameserver has the family of the path's source; {REMEDY}"
            )),
            false => Ok(Dns { servers, search }),
        }
    }
}

fn in_hosts_file(name: &HostName) -> Vec<IpAddr> {
    let (Ok(hosts), Ok(name)) = (Hosts::from_system(), Name::from_ascii(name.as_str())) else {
        return Vec::new();
    };
    let of_type = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [RecordType::AAAA, RecordType::A].map(of_type);
    let records = found.iter().flatten().flat_map(|found| found.answers());
    records.filter_map(|record| record.data.ip_addr()).collect()
}

type SystemSettings = (ResolverConfig, ResolverOpts);

fn system_settings(binding: &SocketBinding) -> Result<SystemSettings, String> {
    let system = read_system_conf()
        .map_err(|error| format!("the system's settings name none ({error}); {REMEDY}"))?;
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
    let stubs: Vec<_> = config
        .name_servers()
        .iter()
        .map(|s| s.ip.to_string())
        .collect();
    if let Some(config) = beyond(config) {
        return Ok((config, options));
    }
    let behind = upstreams().and_then(|(config, options)| Some((beyond(config)?, options)));
    behind.ok_or_else(|| {
        format!(
            "all nameservers of the system are on the loopback ({}) and would ask over another path; \
             {REMEDY}",
            stubs.join(", ")
        )
    })
}

/// The servers that are not on the loopback; `None` when no server is left.
fn beyond(config: ResolverConfig) -> Option<ResolverConfig> {
    let (domain, search, mut servers) = config.into_parts();
    servers.retain(|server| !server.ip.to_canonical().is_loopback());
    let some = !servers.is_empty();
    some.then(|| ResolverConfig::from_parts(domain, search, servers))
}

fn resolved_upstreams() -> Option<SystemSettings> {
    let text = std::fs::read(RESOLVED_UPSTREAMS).ok()?;
    hickory_resolver::system_conf::parse_resolv_conf(text).ok()
}

/// Checks for a name that always means the loopback (RFC 6761, section 6.3).
fn is_localhost(name: &HostName) -> bool {
    let bare = name.as_str().trim_end_matches('.');
    bare == "localhost" || bare.ends_with(".localhost")
}

impl Nameserver {
    /// Returns whether it runs on this host, independent of the path's binding.
    fn is_on_loopback(&self) -> bool {
        let ip = match self {
            Self::Plain(address) => address.ip(),
            Self::Tls(Endpoint {
                host: Host::Ip(ip), ..
            })
            | Self::Https(
                Endpoint {
                    host: Host::Ip(ip), ..
                },
                _,
            ) => ip.ip(),
            _ => return false,
        };
        ip.to_canonical().is_loopback()
    }
}

impl SocketBinding {
    pub(super) fn reaches_ipv4(&self) -> bool {
        !matches!(self, Self::Source(source) if source.ip().is_ipv6())
    }

    pub(super) fn reaches_ipv6(&self) -> bool {
        !matches!(self, Self::Source(source) if source.ip().is_ipv4())
    }

    /// Returns whether the path's source can reach the address's family.
    fn reaches(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(_) => self.reaches_ipv4(),
            IpAddr::V6(_) => self.reaches_ipv6(),
        }
    }

    /// Returns whether this path leads to servers on the loopback.
    fn is_on_loopback(&self) -> bool {
        match self {
            // An unbound path is the system's own.
            Self::None => true,
            Self::Interface(name) => &**name == "lo",
            Self::Source(source) => source.ip().is_loopback(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::config::NameServerConfig;

    use super::*;

    fn system(servers: &[&str]) -> SystemSettings {
        let server = |ip: &&str| NameServerConfig::udp_and_tcp(ip.parse().unwrap());
        let servers = servers.iter().map(server).collect();
        (
            ResolverConfig::from_name_servers(servers),
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
            assert!(error.contains("(::1)"), "{error}");
            assert!(error.contains("`--dns`"), "{error}");
        }
    }
}
