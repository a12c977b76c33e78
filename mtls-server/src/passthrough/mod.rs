//! A relay to any TLS 1.3 server, which answers verifications for it and holds no key.

mod proxy_protocol;
mod tally;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::{Dial, Endpoint, Host, Path};
use mtls_core::relay::{RelayListener, ServerRelay};
use mtls_core::{ListenerLimits, SideServiceSettings};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

pub use self::tally::Tunnels;

use self::tally::Tally;
use crate::arguments::{count, duration, positive};
use crate::error::Error;
use crate::service::{
    AcceptedConnections, Backend, Drained, Health, InheritedSockets, Network, SILENT_GRACE,
    Sockets, Stop, TargetHealth, Transport, VERIFICATION_GRACE, poll_until,
};
use crate::tls::provider;

/// The consequence for clients while the target is down.
const DOWN: &str = "side connections are answered, and clients refused";

/// Settings of a [`Passthrough`].
///
/// ```
/// use mtls_core::Policy;
/// use mtls_server::PassthroughOptions;
///
/// # fn main() -> Result<(), mtls_core::path::EndpointError> {
/// let mut options = PassthroughOptions::new("127.0.0.1:443".parse()?, Policy::Prefer);
/// options.listen = vec![([0, 0, 0, 0], 8443).into()];
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PassthroughOptions {
    /// The TLS server.
    pub target: Endpoint,
    /// The policy, and the settings of verifications.
    pub sides: SideServiceSettings,
    /// Listen addresses for TLS and side connections. Default: 127.0.0.1, port 8443.
    pub listen: Vec<SocketAddr>,
    /// Listen addresses for side connections only. Default: none.
    pub side_listen: Vec<SocketAddr>,
    /// Listen for Multipath TCP (RFC 8684) too, at the addresses for TLS. Default: no.
    pub mptcp: bool,
    /// Sockets that take the place of these addresses. Default: none.
    pub inherited: InheritedSockets,
    /// Load balancers that send a PROXY protocol header (version 1 or 2) with each connection: the
    /// address in it counts as the client's. Default: none.
    pub accept_proxy: Vec<Network>,
    /// Other machines use the same registry: at the end, side connections may complete verifications
    /// of their handshakes. Default: no.
    pub shares_registry: bool,
    /// Send the client's address to the target in a PROXY protocol header, version 2. The target must
    /// expect it. Default: no.
    pub send_proxy: bool,
    /// The interval of checks whether the target accepts connections. Default: 5 s.
    pub health_interval: Duration,
    /// The limits.
    pub limits: TunnelLimits,
}

/// The limits of a passthrough, which are also options of the command line.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[non_exhaustive]
pub struct TunnelLimits {
    /// Maximum number of connections at a time; one more is closed
    #[arg(long = "max-tunnels", value_name = "N", default_value = "65536", value_parser = count)]
    pub tunnels: usize,

    /// Reset a connection after this time without a byte in either direction
    #[arg(long, value_name = "TIME", default_value = "60m", value_parser = positive)]
    pub idle_timeout: Duration,

    /// Grace period for open connections after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub shutdown_timeout: Duration,

    /// The limits of silent connections and pending handshakes.
    #[arg(skip)]
    pub handshakes: ListenerLimits,
}

impl PassthroughOptions {
    /// Uses the defaults of all other settings. `sides` may be a [`Policy`](mtls_core::Policy).
    pub fn new(target: Endpoint, sides: impl Into<SideServiceSettings>) -> Self {
        Self {
            target,
            sides: sides.into(),
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8443))],
            side_listen: Vec::new(),
            mptcp: false,
            inherited: InheritedSockets::default(),
            accept_proxy: Vec::new(),
            shares_registry: false,
            send_proxy: false,
            health_interval: Duration::from_secs(5),
            limits: TunnelLimits::default(),
        }
    }

    fn relay(&self) -> Result<ServerRelay, Error> {
        let limits = &self.limits;
        let (target, sides) = (self.target.clone(), self.sides.clone());
        let mut relay = ServerRelay::builder(&provider(), target, sides)
            .tunnel_idle_timeout(limits.idle_timeout)
            .max_tunnels(limits.tunnels);
        if self.send_proxy {
            relay = relay.preamble(proxy_protocol::header);
        }
        Ok(relay.build()?)
    }
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self {
            tunnels: 65_536,
            idle_timeout: Duration::from_secs(3600),
            shutdown_timeout: Duration::from_secs(10),
            handshakes: ListenerLimits::default(),
        }
    }
}

/// A passthrough with bound sockets. Dropping it ends all tunnels.
#[derive(Debug)]
pub struct Passthrough {
    relay: ServerRelay,
    sockets: Sockets,
    side_sockets: Sockets,
    limits: TunnelLimits,
    shares_registry: bool,
    probe: Probe,
    health_interval: Duration,
    health: Arc<Health>,
    tally: Arc<Tally>,
    stop: Stop,
    side_stop: Stop,
}

impl Passthrough {
    /// Checks the options and binds every socket. Clients can connect from now on, and are served
    /// once [`run`](Self::run) is called. The target may be down.
    ///
    /// # Errors
    /// Invalid [`PassthroughOptions`]; then no socket stays bound.
    pub async fn bind(options: PassthroughOptions) -> Result<Self, Error> {
        let limits = options.limits;
        let inherited = &options.inherited;
        if options.listen.is_empty() && inherited.primary().is_empty() {
            return Err(Error::NoListener);
        }
        if options.health_interval.is_zero() {
            return Err(Error::ZeroLimit("health_interval"));
        }
        let relay = options.relay()?;
        let transport = Transport::of(options.mptcp);
        let (stop, stopping) = Stop::new();
        let (side_stop, side_stopping) = Stop::new();
        let sockets = Sockets::open(&options.listen, inherited.primary(), transport, stopping)?;
        let sockets = sockets.accept_proxy(&options.accept_proxy);
        let side = &options.side_listen;
        let side_sockets = Sockets::open(side, inherited.side(), Transport::Tcp, side_stopping)?;
        let side_sockets = side_sockets.accept_proxy(&options.accept_proxy);
        refuse_loop(&options.target, &sockets)?;
        refuse_loop(&options.target, &side_sockets)?;
        Ok(Self {
            relay,
            sockets,
            side_sockets,
            limits,
            shares_registry: options.shares_registry,
            health: Arc::new(Health::new(&options.target, DOWN)),
            health_interval: options.health_interval,
            probe: Probe {
                target: options.target,
                path: Path::system(),
                greeting: options.send_proxy.then(proxy_protocol::local_header),
            },
            tally: Arc::default(),
            stop,
            side_stop,
        })
    }

    /// The first address for TLS and side connections.
    pub fn local_addr(&self) -> SocketAddr {
        self.sockets.addresses()[0]
    }

    /// The addresses for TLS and side connections, with the ports that the system chose.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.sockets.addresses()
    }

    /// The addresses for side connections only.
    pub fn side_addrs(&self) -> &[SocketAddr] {
        self.side_sockets.addresses()
    }

    /// The number of connections that its addresses for TLS have accepted, which can be read while it runs.
    pub fn accepted_connections(&self) -> AcceptedConnections {
        self.sockets.accepted()
    }

    /// A handle to its state while it runs, and afterwards.
    pub fn watch(&self) -> PassthroughWatch {
        PassthroughWatch {
            health: Arc::clone(&self.health),
            tally: Arc::clone(&self.tally),
        }
    }

    /// Relays until `shutdown` is ready. Then it closes the sockets for TLS, and open tunnels may
    /// end within [`TunnelLimits::shutdown_timeout`], as may the side connections that verify them.
    /// The sockets for side connections only are closed last.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let (tally, health) = (Arc::clone(&self.tally), Arc::clone(&self.health));
        let observer = move |monitor, peer| tally.tunnel(monitor, peer, &health);
        let mut listener = RelayListener::new(self.relay, self.limits.handshakes, observer);
        let closed = self.sockets.closed();
        listener.add(self.sockets);
        if !self.side_sockets.addresses().is_empty() {
            listener.add_side(self.side_sockets);
        }
        tokio::select! {
            () = shutdown => {}
            never = self.health.watch(self.health_interval, || self.probe.connect()) => match never {},
        }
        self.stop.now();
        let drained = async {
            let silent = poll_until(|| closed.get() && listener.silent() == 0);
            // A connection that is silent for longer will hardly become a tunnel.
            let _ = timeout(SILENT_GRACE, silent).await;
            listener.drained().await;
            let others = || self.shares_registry && listener.verifications() > 0;
            let verified = poll_until(|| !others());
            let _ = timeout(VERIFICATION_GRACE, verified).await;
        };
        let drained = timeout(self.limits.shutdown_timeout, drained).await;
        drop(self.side_stop);
        match drained {
            Ok(()) => Drained::All,
            Err(_) => Drained::CutOff(listener.tunnels()),
        }
    }
}

/// A handle to the state of a [`Passthrough`]. Clones share it.
#[derive(Clone, Debug)]
pub struct PassthroughWatch {
    health: Arc<Health>,
    tally: Arc<Tally>,
}

impl PassthroughWatch {
    /// The health of the target, as of the last check.
    pub fn target(&self) -> TargetHealth {
        self.health.state()
    }

    /// The number of open tunnels.
    pub fn open(&self) -> usize {
        self.tally.open()
    }

    /// The numbers of tunnels and bytes, by verdict.
    pub fn tunnels(&self) -> Tunnels {
        self.tally.tunnels()
    }
}

impl Backend for PassthroughWatch {
    fn up(&self) -> Option<bool> {
        self.target().up
    }

    fn bytes(&self) -> Option<(u64, u64)> {
        let tunnels = self.tunnels();
        Some((tunnels.bytes_to_server, tunnels.bytes_to_client))
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({ "health": self.target(), "tunnels": self.tunnels() })
    }
}

/// A check whether the target accepts connections.
#[derive(Debug)]
struct Probe {
    target: Endpoint,
    path: Path,
    /// The first bytes of each connection.
    greeting: Option<Vec<u8>>,
}

impl Probe {
    async fn connect(&self) -> Result<(), String> {
        let dialed = self.path.dial(&self.target).await;
        let mut stream = dialed.map_err(|error| error.reason.to_string())?.stream;
        if let Some(greeting) = &self.greeting {
            let greeted = stream.write_all(greeting).await;
            greeted.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Refuses a target that is the passthrough itself.
fn refuse_loop(target: &Endpoint, sockets: &Sockets) -> Result<(), Error> {
    let loops = |address: &&SocketAddr| {
        let here = address.ip();
        address.port() == target.port
            && match &target.host {
                Host::Ip(to) => to.ip() == here || (here.is_unspecified() && to.ip().is_loopback()),
                Host::Name(name) => {
                    name.as_str().eq_ignore_ascii_case("localhost")
                        && (here.is_loopback() || here.is_unspecified())
                }
            }
    };
    match sockets.addresses().iter().find(loops) {
        Some(address) => Err(Error::TargetIsSelf(*address)),
        None => Ok(()),
    }
}
