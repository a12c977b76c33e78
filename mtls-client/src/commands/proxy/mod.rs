//! The command `proxy`: multipath TLS for programs that know nothing of it.
//!
//! A client asks for a tunnel by HTTP CONNECT, SOCKS4 or SOCKS5 ([`request`]); [`rules`] say what policy
//! holds for the host; [`mtls_core::relay`] verifies and relays; [`history`] remembers what became
//! of it, [`explanation`] says it in plain words, and [`page`] and [`console`] tell it.

pub(crate) mod args;
mod certificates;
mod console;
mod dispatch;
mod explanation;
mod forward;
mod history;
mod hops;
mod interim;
mod listen;
mod page;
mod pattern;
mod request;
mod response;
mod rules;
pub(crate) mod settings;
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

use self::console::Console;
use self::history::History;
use crate::commands::proxy::rules::Rules;
use crate::connect::failure::Failure;
use crate::connect::roots;
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::output::messages;
use crate::output::trace;
use crate::usage::UsageError;

/// How many second looks are taken at a time.
const LOOKS: usize = 4;

/// Connections beside the tunnels: for the page, and for who has not said yet what it wants.
const BESIDE: usize = 256;

/// What all connections share.
struct Proxy {
    relay: ClientRelay,
    primary: Path,
    rules: Rules,
    evidence_dir: Option<PathBuf>,
    history: Arc<History>,
    console: Console,
    tunnels: Arc<Semaphore>,
    max_tunnels: usize,
    looks: Semaphore,
    about: About,
}

/// What the page says of the proxy itself.
#[derive(Debug, Serialize)]
struct About {
    listen: Vec<SocketAddr>,
    policy: mtls_core::Policy,
    rules: Vec<String>,
    primary: String,
    sides: Vec<String>,
    side_endpoint: Option<String>,
    version: &'static str,
    /// In milliseconds since 1970-01-01 UTC: another number is another run.
    started: u128,
}

/// Runs the proxy until it is told to stop.
pub(crate) fn proxy(options: &settings::Proxy, settings: &Settings) -> Result<Exit, UsageError> {
    let relay = relay(options, settings)?;
    let started = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .and_then(|runtime| Ok((runtime, Console::start(settings)?)));
    let (runtime, (console, writer)) = match started {
        Ok(started) => started,
        Err(error) => {
            let message = format!("the system gives no threads: {error}.");
            messages::error(&Failure::new(Exit::Connect, "no-threads", message));
            return Ok(Exit::Connect);
        }
    };
    trace::start(settings.verbose, console.log());
    let exit = runtime.block_on(run(options, settings, relay, console));
    runtime.shutdown_timeout(Duration::from_millis(200));
    writer.finish();
    Ok(exit)
}

fn relay(options: &settings::Proxy, settings: &Settings) -> Result<ClientRelay, UsageError> {
    let mut builder = ClientRelay::builder(&roots::provider(), settings.policy)
        .primary(settings.primary.clone())
        .require_independent(settings.require_independent)
        .deadline(settings.deadline)
        .tunnel_idle_timeout(options.idle_timeout);
    for side in &settings.sides {
        builder = builder.side(side.clone());
    }
    if let Some(endpoint) = &settings.side_endpoint {
        builder = builder.side_endpoint(endpoint.clone());
    }
    if let Some(patience) = settings.connect_timeout {
        builder = builder.handshake_timeout(patience);
    }
    let built = builder.build();
    built.map_err(|error| UsageError::new("settings", error))
}

async fn run(
    options: &settings::Proxy,
    settings: &Settings,
    relay: ClientRelay,
    console: Console,
) -> Exit {
    listen::allow_many_files(options.max_tunnels);
    let sockets = match listen::bind(&options.listen) {
        Ok(sockets) => sockets,
        Err(failure) => {
            messages::error(&failure);
            return failure.exit;
        }
    };
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        let message = "the system gives no signals.";
        messages::error(&Failure::new(Exit::Connect, "no-signals", message));
        return Exit::Connect;
    };
    let listen = sockets.iter().filter_map(|socket| socket.local_addr().ok());
    let proxy = Arc::new(Proxy::new(
        options,
        settings,
        relay,
        console,
        listen.collect(),
    ));
    proxy
        .console
        .listening(&proxy.about.listen, settings.policy);
    let mut stop = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = tokio::select! {
        name = stop() => name,
        never = listen::accept(&proxy, sockets, options.max_tunnels + BESIDE) => match never {},
    };
    drain(&proxy, name, options, stop()).await;
    Exit::Success
}

/// Open tunnels may end by themselves.
async fn drain(
    proxy: &Proxy,
    name: &str,
    options: &settings::Proxy,
    second: impl Future<Output = &'static str>,
) {
    let open = proxy.open_tunnels();
    if open == 0 {
        return;
    }
    let patience = options.shutdown_timeout;
    proxy.console.say(&format!(
        "{name}: {open} tunnels are open and may end within {patience:?}; a second signal ends at \
         once\n"
    ));
    let all = u32::try_from(proxy.max_tunnels).unwrap_or(u32::MAX);
    let drained = timeout(patience, proxy.tunnels.acquire_many(all));
    tokio::select! {
        drained = drained => if drained.is_err() {
            let left = proxy.open_tunnels();
            proxy.console.say(&format!("the time is over: tunnels cut off: {left}\n"));
        },
        _ = second => {}
    }
}

impl Proxy {
    fn new(
        options: &settings::Proxy,
        settings: &Settings,
        relay: ClientRelay,
        console: Console,
        listen: Vec<SocketAddr>,
    ) -> Self {
        Self {
            relay,
            primary: settings.primary.clone(),
            rules: options.rules.clone(),
            evidence_dir: settings.evidence_dir.clone(),
            history: Arc::new(History::new(options.history)),
            console,
            tunnels: Arc::new(Semaphore::new(options.max_tunnels)),
            max_tunnels: options.max_tunnels,
            looks: Semaphore::new(LOOKS),
            about: About {
                listen,
                policy: options.rules.policy(),
                rules: options.rules.list().collect(),
                primary: settings.primary.to_string(),
                sides: settings.sides.iter().map(Path::to_string).collect(),
                side_endpoint: settings.side_endpoint.as_ref().map(Endpoint::to_string),
                version: env!("CARGO_PKG_VERSION"),
                started: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_millis()),
            },
        }
    }

    fn open_tunnels(&self) -> usize {
        self.max_tunnels - self.tunnels.available_permits()
    }

    /// Whether this is one of the proxy's own sockets.
    fn is_at(&self, target: &Endpoint) -> bool {
        let Host::Ip(address) = &target.host else {
            return false;
        };
        self.about
            .listen
            .contains(&SocketAddr::new(address.ip(), target.port))
    }
}
