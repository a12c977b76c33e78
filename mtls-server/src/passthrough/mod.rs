//! A relay in front of any TLS 1.3 server: it answers verifications for it, and holds no key.

mod proxy_protocol;
mod tally;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::observer::Observer;
use mtls_core::path::{Dial, Endpoint, Host, Path};
use mtls_core::registry::PendingRegistry;
use mtls_core::relay::{RelayListener, ServerRelay};
use mtls_core::{ListenerLimits, Policy, SideServiceSettings};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

pub use self::tally::Tunnels;

use self::tally::Tally;
use crate::error::Error;
use crate::service::{Backend, Drained, Health, Sockets, Stop, TargetHealth};
use crate::tls::provider;

/// What a target that is down means for clients.
const DOWN: &str = "side connections are answered, and clients turned away";

/// How to stand in front of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PassthroughOptions {
    /// The server.
    pub target: Endpoint,
    /// What to do with connections that are not verified.
    pub policy: Policy,
    /// Where to listen for TLS and side connections. Default: 127.0.0.1, port 8443.
    pub listen: Vec<SocketAddr>,
    /// Where to listen for side connections only. Default: nowhere.
    pub side_listen: Vec<SocketAddr>,
    /// Tell the target who its clients are, with a PROXY protocol header, version 2. The target
    /// must expect it. Default: no.
    pub send_proxy: bool,
    /// How often to see whether the target takes connections. Default: 5 s.
    pub health_interval: Duration,
    /// The bounds.
    pub limits: TunnelLimits,
    /// Who is told what happens. Default: nobody.
    pub observer: Option<Arc<dyn Observer>>,
    /// Where handshakes wait for their side connections. Default: a registry of its own.
    pub registry: Option<Arc<dyn PendingRegistry>>,
}

/// The bounds of a passthrough.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TunnelLimits {
    /// Tunnels at a time; one more is refused. Default: 65,536.
    pub tunnels: usize,
    /// How long a tunnel in which neither end sends anything stays open, at least; at most twice
    /// as long. Default: 1 h.
    pub idle_timeout: Duration,
    /// How long a client's bytes may be held back for its confirmation. Default: 3 s.
    pub deadline: Duration,
    /// How long open tunnels may go on when the passthrough stops. Default: 10 s.
    pub shutdown_timeout: Duration,
    /// Silent connections, and handshakes under way.
    pub handshakes: ListenerLimits,
}

impl PassthroughOptions {
    /// The defaults of everything that has one.
    pub fn new(target: Endpoint, policy: Policy) -> Self {
        Self {
            target,
            policy,
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8443))],
            side_listen: Vec::new(),
            send_proxy: false,
            health_interval: Duration::from_secs(5),
            limits: TunnelLimits::default(),
            observer: None,
            registry: None,
        }
    }
}

impl PassthroughOptions {
    fn relay(&self) -> Result<ServerRelay, Error> {
        let limits = &self.limits;
        let mut settings = SideServiceSettings::new(self.policy).deadline(limits.deadline);
        if let Some(observer) = &self.observer {
            settings = settings.observer(Arc::clone(observer));
        }
        if let Some(registry) = &self.registry {
            settings = settings.registry(Arc::clone(registry));
        }
        let mut relay = ServerRelay::builder(&provider(), self.target.clone(), settings)
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
            deadline: Duration::from_secs(3),
            shutdown_timeout: Duration::from_secs(10),
            handshakes: ListenerLimits::default(),
        }
    }
}

/// A passthrough whose sockets are bound. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Passthrough {
    relay: ServerRelay,
    sockets: Sockets,
    side_sockets: Sockets,
    limits: TunnelLimits,
    probe: Probe,
    health_interval: Duration,
    health: Arc<Health>,
    tally: Arc<Tally>,
    stop: Stop,
}

impl Passthrough {
    /// Checks the options and binds every socket. Clients can connect from now on, and are served
    /// once [`run`](Self::run) is called. The target need not be there yet.
    ///
    /// # Errors
    /// Everything that can be wrong with [`PassthroughOptions`]; then no socket stays bound.
    pub async fn bind(options: PassthroughOptions) -> Result<Self, Error> {
        let limits = options.limits;
        if options.listen.is_empty() {
            return Err(Error::NoListener);
        }
        if options.health_interval.is_zero() {
            return Err(Error::ZeroLimit("health_interval"));
        }
        let relay = options.relay()?;
        let (stop, stopping) = Stop::new();
        let sockets = Sockets::bind(&options.listen, stopping.clone())?;
        let side_sockets = Sockets::bind(&options.side_listen, stopping.clone())?;
        refuse_loop(&options.target, &sockets)?;
        refuse_loop(&options.target, &side_sockets)?;
        Ok(Self {
            relay,
            sockets,
            side_sockets,
            limits,
            health: Arc::new(Health::new(&options.target, DOWN)),
            health_interval: options.health_interval,
            probe: Probe {
                target: options.target,
                path: Path::system(),
                greeting: options.send_proxy.then(proxy_protocol::local_header),
            },
            tally: Arc::default(),
            stop,
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

    /// What is known of it while it runs, and afterwards.
    pub fn watch(&self) -> PassthroughWatch {
        PassthroughWatch {
            health: Arc::clone(&self.health),
            tally: Arc::clone(&self.tally),
        }
    }

    /// Relays until `shutdown` is ready. Then the sockets are closed, and tunnels that are open may
    /// end within [`TunnelLimits::shutdown_timeout`], as may the side connections that verify them.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let (tally, health) = (Arc::clone(&self.tally), Arc::clone(&self.health));
        let observer = move |monitor, peer| tally.tunnel(monitor, peer, &health);
        let mut listener = RelayListener::new(self.relay, self.limits.handshakes, observer);
        listener.add(self.sockets);
        if !self.side_sockets.addresses().is_empty() {
            listener.add_side(self.side_sockets);
        }
        tokio::select! {
            () = shutdown => {}
            never = self.health.watch(self.health_interval, || self.probe.connect()) => match never {},
        }
        self.stop.now();
        listener.stop_accepting();
        match timeout(self.limits.shutdown_timeout, listener.drained()).await {
            Ok(()) => Drained::All,
            Err(_) => Drained::CutOff(listener.tunnels()),
        }
    }
}

/// Looks at a [`Passthrough`] from outside; clones look at the same one.
#[derive(Clone, Debug)]
pub struct PassthroughWatch {
    health: Arc<Health>,
    tally: Arc<Tally>,
}

impl PassthroughWatch {
    /// Whether the target takes connections, as of the last look.
    pub fn target(&self) -> TargetHealth {
        self.health.state()
    }

    /// How many tunnels are open.
    pub fn open(&self) -> usize {
        self.tally.open()
    }

    /// The tunnels: how many, with which verdicts, and how many bytes.
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

/// How to see whether the target takes connections.
#[derive(Debug)]
struct Probe {
    target: Endpoint,
    path: Path,
    /// What a connection has to begin with.
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

/// A target that is this very passthrough would be asked for ever.
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
