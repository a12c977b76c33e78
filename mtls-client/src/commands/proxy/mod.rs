//! The command `proxy`: multipath TLS for unmodified programs.
//!
//! [`dispatch`] serves one client, whose first [`request`] is HTTP CONNECT, SOCKS4, SOCKS5 or plain
//! HTTP. [`rules`] determine the policy of the host, and [`tunnels`] dial it. [`mtls_core::relay`]
//! verifies and relays. [`forward`] passes plain HTTP through a tunnel. [`history`] keeps the
//! connections, [`summary`] describes them, and [`page`] and [`console`] show them.

pub(crate) mod args;
mod certificates;
mod console;
mod dispatch;
mod forward;
mod history;
mod hops;
mod interim;
mod listen;
mod page;
mod pattern;
pub(crate) mod request;
mod response;
mod rules;
mod summary;
mod target_form;
mod tunnels;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mtls_core::path::{Endpoint, Host, Path};
use mtls_core::relay::ClientRelay;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::args::Args;
use self::console::Console;
use self::history::History;
use self::rules::Rules;
use crate::args::TlsArgs;
use crate::args::known_hosts::KeyArgs;
use crate::connect::known_hosts::KnownHosts;
use crate::connect::path_set::PathSet;
use crate::connect::provider::provider;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::trace;
use crate::runtime;

/// The maximum number of connections at a time that fetch an attacker's certificates.
const MAX_CERTIFICATE_FETCHES: usize = 4;

/// Connections in addition to the tunnels: for the page, and before a client's request is complete.
const EXTRA_CONNECTIONS: usize = 256;

/// The state that all connections share.
struct Proxy {
    relay: ClientRelay,
    known_hosts: KnownHosts,
    primary: Path,
    rules: Rules,
    evidence_dir: Option<PathBuf>,
    history: Arc<History>,
    console: Console,
    tunnels: Arc<Semaphore>,
    max_tunnels: usize,
    certificate_fetches: Semaphore,
    about: About,
}

/// The description of the proxy on its page.
#[derive(Debug, Serialize)]
struct About {
    listen: Vec<SocketAddr>,
    policy: mtls_core::Policy,
    rules: Vec<String>,
    primary: String,
    sides: Vec<String>,
    side_endpoint: Option<String>,
    version: &'static str,
    /// Start time in milliseconds since 1970-01-01 UTC, which identifies a run.
    started: u128,
}

/// Runs the proxy until a signal stops it.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    args.check_listen()?;
    let paths = PathSet::new(
        args.paths.clone(),
        args.connect_timeout,
        &TlsArgs::default(),
    )?;
    let known_hosts = KnownHosts::new(&args.known_hosts, KeyArgs::default())?;
    let relay = relay(&args, &paths, &known_hosts)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| runtime::not_started(&error))?;
    let console = Console::start(&args.output);
    let (console, writer) = console.map_err(|error| runtime::not_started(&error))?;
    trace::start(args.output.verbose, console.log());
    let exit = runtime.block_on(serve(&args, &paths, (relay, known_hosts), console));
    runtime.shutdown_timeout(Duration::from_millis(200));
    writer.finish();
    exit
}

fn relay(args: &Args, paths: &PathSet, known_hosts: &KnownHosts) -> Result<ClientRelay, Failure> {
    let side_endpoint = paths.side_endpoint.as_ref();
    let settings = paths.client_settings(&args.verify, args.connect_timeout, side_endpoint);
    let settings = known_hosts.apply(settings);
    let builder =
        ClientRelay::builder(&provider(), settings).tunnel_idle_timeout(args.idle_timeout);
    let built = builder.build();
    built.map_err(|error| Failure::usage("settings", error))
}

async fn serve(
    args: &Args,
    paths: &PathSet,
    relay: (ClientRelay, KnownHosts),
    console: Console,
) -> Result<Exit, Failure> {
    listen::raise_file_limit(args.max_tunnels());
    let sockets = listen::bind(&args.listen)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| no_signals(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| no_signals(&error))?;
    let listen = sockets.iter().filter_map(|socket| socket.local_addr().ok());
    let proxy = Arc::new(Proxy::new(args, paths, relay, console, listen.collect()));
    proxy
        .console
        .listening(&proxy.about.listen, args.verify.policy);
    let mut stop = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let max_connections = args.max_tunnels() + EXTRA_CONNECTIONS;
    let name = tokio::select! {
        name = stop() => name,
        never = listen::accept(&proxy, sockets, max_connections) => match never {},
    };
    drain(&proxy, name, args.shutdown_timeout, stop()).await;
    Ok(Exit::Success)
}

fn no_signals(error: &std::io::Error) -> Failure {
    let message = format!("could not install signal handlers: {error}");
    Failure::new(Exit::Connect, "no-signals", message)
}

/// Waits for open tunnels to end, until the timeout or a second signal.
async fn drain(
    proxy: &Proxy,
    name: &str,
    limit: Duration,
    second: impl Future<Output = &'static str>,
) {
    let open = proxy.open_tunnels();
    if open == 0 {
        return;
    }
    proxy.console.note(&format!(
        "{name}: waiting up to {limit:?} for {open} open tunnels; a second signal ends them at once\n"
    ));
    let all = u32::try_from(proxy.max_tunnels).unwrap_or(u32::MAX);
    let drained = timeout(limit, proxy.tunnels.acquire_many(all));
    tokio::select! {
        drained = drained => if drained.is_err() {
            let left = proxy.open_tunnels();
            proxy.console.note(&format!("shutdown timeout: {left} tunnels closed\n"));
        },
        _ = second => {}
    }
}

impl Proxy {
    fn new(
        args: &Args,
        paths: &PathSet,
        (relay, known_hosts): (ClientRelay, KnownHosts),
        console: Console,
        listen: Vec<SocketAddr>,
    ) -> Self {
        let rules = Rules::new(args.verify.policy, &args.require, &args.exempt);
        let about = About {
            listen,
            policy: args.verify.policy,
            rules: rules.list().collect(),
            primary: paths.primary.to_string(),
            sides: paths.sides.iter().map(Path::to_string).collect(),
            side_endpoint: paths.side_endpoint.as_ref().map(Endpoint::to_string),
            version: env!("CARGO_PKG_VERSION"),
            started: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis()),
        };
        Self {
            relay,
            known_hosts,
            primary: paths.primary.clone(),
            rules,
            evidence_dir: args.verify.evidence_dir.clone(),
            history: Arc::new(History::new(args.history())),
            console,
            tunnels: Arc::new(Semaphore::new(args.max_tunnels())),
            max_tunnels: args.max_tunnels(),
            certificate_fetches: Semaphore::new(MAX_CERTIFICATE_FETCHES),
            about,
        }
    }

    fn open_tunnels(&self) -> usize {
        self.max_tunnels - self.tunnels.available_permits()
    }

    /// Whether this is a socket of the proxy. Zones are ignored: they have several names.
    fn is_at(&self, target: &Endpoint) -> bool {
        let Host::Ip(address) = &target.host else {
            return false;
        };
        let is_target =
            |listen: &SocketAddr| (listen.ip(), listen.port()) == (address.ip(), target.port);
        self.about.listen.iter().any(is_target)
    }

    /// Whether connections to this address arrive at the proxy.
    fn listens_on(&self, address: SocketAddr) -> bool {
        let mut own = self.about.listen.iter();
        own.any(|own| listen::accepts(*own, address))
    }
}
