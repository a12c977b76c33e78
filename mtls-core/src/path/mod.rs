//! Network paths: the system's route, an interface, a source address, or a SOCKS5 or HTTP proxy.
//!
//! A [`Path`] resolves names itself, so that the answer comes over the path: one that is bound to
//! an interface or a source address sends its DNS queries from there, and a proxied one leaves
//! the name to the proxy. [`Dial`] is all that the connector knows of a path, so that a
//! simulated network can stand in for it.

mod address;
mod connect;
mod credentials;
#[cfg(feature = "quic")]
mod datagram;
#[cfg(feature = "dns")]
mod dns;
mod endpoint;
mod endpoint_error;
mod error;
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) mod fuzzing;
mod http_connect;
mod independence;
#[cfg(feature = "route")]
mod kernel;
mod kind;
#[cfg(feature = "mptcp")]
pub(crate) mod mptcp;
mod names;
mod nameserver;
#[cfg(feature = "dns")]
mod query;
#[cfg(feature = "route")]
mod route;
mod socket;
mod socks5;
mod spec_error;
mod subflow;
#[cfg(feature = "route")]
pub mod survey;
#[cfg(test)]
mod tests;

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;
use core::time::Duration;
use std::sync::Arc;

use futures_util::future::BoxFuture;
#[cfg(feature = "encrypted-dns")]
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use connect::Dialler;
use credentials::Credentials;

pub use address::HostAddress;
#[cfg(feature = "dns")]
pub use dns::MAX_NAMESERVERS;
pub use endpoint::{Endpoint, Host, HostName};
pub use endpoint_error::EndpointError;
pub use error::{DialError, DialFailure, DialFailureClass, DialStage, ProxyRefusal};
pub use independence::{Independence, Route, RouteInfo};
pub use kind::{PathKind, SubflowSource};
pub use names::ResolvedBy;
pub use nameserver::{Nameserver, NameserverError};
pub use spec_error::PathSpecError;
pub use subflow::{MptcpReport, SubflowReport};

#[cfg(feature = "quic")]
pub(crate) use datagram::Targets;

/// The default of [`Path::connect_timeout`].
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens connections over one network path.
pub trait Dial: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens a connection. The future owns what it needs, so a task can be spawned of it;
    /// dropping it gives the attempt up.
    fn dial(&self, to: &Endpoint) -> BoxFuture<'static, Result<Dialed<Self::Stream>, DialError>>;

    /// Names the path, without secrets: equal names for equal paths. Without a name it is not
    /// remembered that a server supports no verification over this path
    /// ([`known_hosts`](crate::known_hosts)). Default: no name.
    fn name(&self) -> Option<String> {
        None
    }

    /// The network of a further subflow, for a side path inside the primary connection
    /// (`docs/protocol.md`, section 15). [`dial`](Self::dial) then makes a connection of its own
    /// over the same network. Default: `None`, a side path with connections of its own.
    fn subflow(&self) -> Option<SubflowSource> {
        None
    }

    /// Whether [`dial`](Self::dial) uses Multipath TCP, which a side path inside the connection needs.
    /// Default: no.
    fn uses_mptcp(&self) -> bool {
        false
    }
}

impl<D: Dial + ?Sized> Dial for Arc<D> {
    type Stream = D::Stream;

    fn dial(&self, to: &Endpoint) -> BoxFuture<'static, Result<Dialed<D::Stream>, DialError>> {
        (**self).dial(to)
    }

    fn name(&self) -> Option<String> {
        (**self).name()
    }

    fn subflow(&self) -> Option<SubflowSource> {
        (**self).subflow()
    }

    fn uses_mptcp(&self) -> bool {
        (**self).uses_mptcp()
    }
}

/// A connection, and how it leaves this host.
#[derive(Debug)]
pub struct Dialed<S> {
    /// The connection. `TCP_NODELAY` is set where it is TCP.
    pub stream: S,
    /// Its address here.
    pub local: Option<SocketAddr>,
    /// Its address there: the proxy's, on a proxied path.
    pub peer: Option<SocketAddr>,
    /// The path.
    pub via: PathKind,
    /// The source of the host's addresses; `None` where the target is an address.
    pub resolver: Option<ResolvedBy>,
    /// Its route.
    pub route: Route,
    /// Its socket is one of Multipath TCP, whether or not the peer supports that.
    pub mptcp: bool,
}

/// One way from this host into the network. A clone is cheap and the same path.
///
/// Written as the programs do, it parses from and displays as `direct`, `if:NAME`, `src:IP`,
/// `socks5h://HOST:PORT`, `http://HOST:PORT`, `mptcp:NAME` or `mptcp:src:IP`; `USER:PASSWORD@` before a proxy's host is parsed
/// (percent-encoded, RFC 3986), but never displayed.
///
/// ```
/// use mtls_core::path::Path;
/// let side: Path = "socks5h://[2001:db8::1]:1080".parse()?;
/// assert_eq!(side.to_string(), "socks5h://[2001:db8::1]:1080");
/// # Ok::<(), mtls_core::path::PathSpecError>(())
/// ```
#[derive(Clone)]
pub struct Path {
    settings: Arc<PathSettings>,
}

/// Settings of a [`Path`].
#[derive(Clone)]
struct PathSettings {
    kind: PathKind,
    credentials: Option<Arc<Credentials>>,
    nameservers: Vec<Nameserver>,
    #[cfg(feature = "encrypted-dns")]
    nameserver_tls: Option<Arc<ClientConfig>>,
    overrides: Vec<Override>,
    connect_timeout: Duration,
    fast_open: bool,
    mptcp: bool,
}

/// Addresses that stand for one name and port.
#[derive(Clone)]
struct Override {
    host: HostName,
    port: u16,
    addresses: Vec<HostAddress>,
}

impl Path {
    /// As the system routes and resolves.
    #[must_use]
    pub fn system() -> Self {
        Self::of(PathKind::Direct, None)
    }

    /// Out of this network interface (`SO_BINDTODEVICE`; Linux). Names are resolved through it.
    ///
    /// Linux lets every process do so since 5.7; before, it takes `CAP_NET_RAW`.
    ///
    /// # Errors
    /// If this cannot be the name of an interface. A dial checks that it exists.
    pub fn interface(name: &str) -> Result<Self, PathSpecError> {
        Ok(Self::of(
            PathKind::Interface(kind::interface_name(name)?.into()),
            None,
        ))
    }

    /// From this address of the host. Names are resolved from it, to its family only.
    ///
    /// # Errors
    /// If the address is unspecified or multicast. A dial checks that the host has it.
    pub fn source(address: HostAddress) -> Result<Self, PathSpecError> {
        let source = kind::check_source(address)?;
        Ok(Self::of(PathKind::Source(source), None))
    }

    /// Inside the primary connection, on a further subflow of Multipath TCP over this network
    /// (`docs/protocol.md`, section 15). For one side path, and a primary path with
    /// [`mptcp`](Self::mptcp). Feature `mptcp`.
    ///
    /// It takes `CAP_NET_ADMIN` and `net.mptcp.path_manager=userspace` at the client, and a server
    /// that accepts subflows. Side connections of their own need none of these, and are faster.
    ///
    /// # Errors
    /// As [`interface`](Self::interface) and [`source`](Self::source).
    #[cfg(feature = "mptcp")]
    pub fn subflow(source: SubflowSource) -> Result<Self, PathSpecError> {
        match &source {
            SubflowSource::Interface(name) => drop(kind::interface_name(name)?),
            SubflowSource::Source(address) => drop(kind::check_source(address.clone())?),
        }
        Ok(Self::of(PathKind::Mptcp(source), None))
    }

    /// Through a SOCKS5 proxy (RFC 1928), which resolves the names.
    #[must_use]
    pub fn socks5(proxy: Endpoint) -> Self {
        Self::of(PathKind::Socks5(proxy), None)
    }

    /// Through an HTTP proxy by CONNECT (RFC 9110, section 9.3.6), which resolves the names.
    #[must_use]
    pub fn http_connect(proxy: Endpoint) -> Self {
        Self::of(PathKind::HttpConnect(proxy), None)
    }

    fn of(kind: PathKind, credentials: Option<Arc<Credentials>>) -> Self {
        let settings = PathSettings {
            kind,
            credentials,
            nameservers: Vec::new(),
            #[cfg(feature = "encrypted-dns")]
            nameserver_tls: None,
            overrides: Vec::new(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            fast_open: false,
            mptcp: false,
        };
        Self {
            settings: Arc::new(settings),
        }
    }

    /// A user name and password for the proxy (SOCKS5: RFC 1929; HTTP: Basic, RFC 7617). Both
    /// reach the proxy in the clear.
    ///
    /// # Errors
    /// If the path has no proxy, the user name is empty, or either has more than 255 bytes; for
    /// an HTTP proxy also when the user name has a colon.
    pub fn credentials(mut self, user: &str, password: &str) -> Result<Self, PathSpecError> {
        let credentials = Credentials::new(user, password)?;
        self.settings.kind.check(&credentials)?;
        self.edit().credentials = Some(Arc::new(credentials));
        Ok(self)
    }

    /// Resolves names by these servers over this path, instead of the system's; at most
    /// [`MAX_NAMESERVERS`] are used, in this order, each 500 ms after the one before or as soon as one
    /// fails. A server on the loopback is asked there, although the path is bound elsewhere: its own
    /// queries take the system's routes. On a proxied path this concerns the proxy's own name only.
    /// Feature `dns`.
    ///
    /// The `hosts` file is consulted first.
    #[cfg(feature = "dns")]
    #[must_use]
    pub fn nameservers<N: Into<Nameserver>>(
        mut self,
        nameservers: impl IntoIterator<Item = N>,
    ) -> Self {
        self.edit().nameservers = nameservers.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how the certificates of nameservers by TLS and HTTPS are verified. The application
    /// protocols of the configuration are not used. Feature `encrypted-dns`.
    #[cfg(feature = "encrypted-dns")]
    #[must_use]
    pub fn nameserver_tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.edit().nameserver_tls = Some(config);
        self
    }

    /// Takes this address for this host and port, without DNS; given again for the same two, adds
    /// an address. A proxied path then asks the proxy for the address instead of the name.
    #[must_use]
    pub fn resolve(mut self, host: HostName, port: u16, address: impl Into<HostAddress>) -> Self {
        let address = address.into();
        let overrides = &mut self.edit().overrides;
        match overrides.iter_mut().find(|o| o.is_for(&host, port)) {
            Some(entry) => entry.addresses.push(address),
            None => overrides.push(Override {
                host,
                port,
                addresses: vec![address],
            }),
        }
        self
    }

    /// Sets the time limit of a dial: resolving, connecting, and the proxy's answers. Default: 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.edit().connect_timeout = timeout;
        self
    }

    /// Lets the first bytes travel in the SYN (TCP Fast Open, RFC 7413), where that can be. On a
    /// side path that saves a round trip: the client's question goes with the SYN. Default: off.
    ///
    /// Linux only; elsewhere it changes nothing. The system must allow it at both ends
    /// (`net.ipv4.tcp_fastopen`: bit 0 at the client, where it is the default, bits 1 and 10 at a
    /// server whose listener does not ask for it: `0x402`). The first connection fetches a cookie
    /// and is an ordinary one. Only hosts with one usable address are connected to in this way,
    /// and a dial then returns before anybody has answered: an unreachable server shows itself
    /// when something is read.
    ///
    /// The bytes in a SYN may reach the server twice. That harms neither a ClientHello nor the
    /// side protocol (`docs/protocol.md`, section 5.2).
    #[must_use]
    pub fn fast_open(mut self, on: bool) -> Self {
        self.edit().fast_open = on;
        self
    }

    /// Opens connections of Multipath TCP (RFC 8684), where the server supports it; otherwise they
    /// are TCP, and the verdict says so ([`PathReport::mptcp`](crate::PathReport::mptcp)). The
    /// kernel's path manager adds subflows over further interfaces, as `ip mptcp endpoint` and
    /// `ip mptcp limits` say; the connection then uses their capacity, and survives the loss of one.
    /// Default: off. Feature `mptcp`.
    ///
    /// For the primary path: subflows of a side path would use the networks of other paths.
    /// [`interface`](Self::interface) binds all subflows to one interface: use a
    /// [`source`](Self::source) address or the system's route. [`fast_open`](Self::fast_open) has no
    /// effect then.
    ///
    /// A dial fails where the kernel has no Multipath TCP ([`DialFailure::Mptcp`]).
    #[cfg(feature = "mptcp")]
    #[must_use]
    pub fn mptcp(mut self, on: bool) -> Self {
        self.edit().mptcp = on;
        self
    }

    /// The kind of the path.
    #[must_use]
    pub fn kind(&self) -> &PathKind {
        &self.settings.kind
    }

    fn dialler(&self, to: &Endpoint) -> Dialler {
        Dialler {
            settings: Arc::clone(&self.settings),
            to: to.clone(),
        }
    }

    fn edit(&mut self) -> &mut PathSettings {
        Arc::make_mut(&mut self.settings)
    }
}

impl Dial for Path {
    type Stream = TcpStream;

    fn dial(&self, to: &Endpoint) -> BoxFuture<'static, Result<Dialed<TcpStream>, DialError>> {
        let dialler = self.dialler(to);
        Box::pin(async move { dialler.run().await })
    }

    fn name(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn subflow(&self) -> Option<SubflowSource> {
        match &self.settings.kind {
            PathKind::Mptcp(source) => Some(source.clone()),
            _ => None,
        }
    }

    fn uses_mptcp(&self) -> bool {
        self.settings.mptcp
    }
}

impl FromStr for Path {
    type Err = PathSpecError;

    fn from_str(text: &str) -> Result<Self, PathSpecError> {
        let (kind, credentials) = kind::parse(text)?;
        Ok(Self::of(kind, credentials.map(Arc::new)))
    }
}

/// Without the credentials.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.kind.fmt(f)
    }
}

/// Without the credentials.
impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Path")
            .field("kind", &format_args!("{}", self.settings.kind))
            .field("nameservers", &self.settings.nameservers)
            .field("connect_timeout", &self.settings.connect_timeout)
            .field("fast_open", &self.settings.fast_open)
            .field("mptcp", &self.settings.mptcp)
            .finish_non_exhaustive()
    }
}

/// The route of a subflow that is bound to the interface with this index; 0: as routed.
#[cfg(feature = "mptcp")]
pub(crate) fn route_of(interface: u32, local: SocketAddr, peer: SocketAddr) -> Route {
    Route::lazy(move || RouteInfo {
        interface: mptcp::interface_of(interface, local, peer),
        source: Some(local.ip()),
        ..RouteInfo::default()
    })
}

/// Looks up what the kernel knows of a Multipath TCP connection between these addresses.
pub(crate) fn mptcp_report(local: SocketAddr, peer: SocketAddr) -> Option<MptcpReport> {
    #[cfg(feature = "mptcp")]
    return mptcp::report(local, peer);
    #[cfg(not(feature = "mptcp"))]
    {
        let _ = (local, peer);
        None
    }
}

impl PathSettings {
    fn overridden(&self, host: &HostName, port: u16) -> Option<&[HostAddress]> {
        let entry = self.overrides.iter().find(|o| o.is_for(host, port))?;
        Some(&entry.addresses)
    }
}

impl Override {
    fn is_for(&self, host: &HostName, port: u16) -> bool {
        self.port == port && self.host.is(host)
    }
}
