//! The programs on the hosts of the simulated network.

use std::sync::{Arc, Mutex, PoisonError};

use mtls_core::registry::fleet::double::MemoryStore;
use mtls_core::registry::fleet::{FleetKeys, FleetRegistry, FleetSettings, MachineId};
use mtls_core::{
    Incoming, ListenerLimits, MultipathAcceptor, MultipathListener, SideServiceSettings,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use turmoil::net::TcpStream;

use super::{PORT, SERVER, Served, ServerKind, SimListener};

/// A connection as the server saw it.
pub(super) type Log = Arc<Mutex<Vec<Served>>>;

/// Answers every request of four bytes with the same four bytes.
pub(super) async fn server(
    kind: ServerKind,
    config: Arc<ServerConfig>,
    log: Log,
    machine: Option<(MemoryStore, MachineId)>,
) -> turmoil::Result {
    let mut incoming = SimListener::bind(PORT).await?;
    let ServerKind::Multipath(policy) = kind else {
        let acceptor = TlsAcceptor::from(config);
        loop {
            let (tcp, _) = incoming.accept().await?;
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let stream = acceptor.accept(tcp).await?;
                echo(stream, || None, &log).await
            });
        }
    };
    let mut settings = SideServiceSettings::new(policy);
    if let Some((store, machine)) = machine {
        let fleet = FleetSettings::new(machine, FleetKeys::new(&[7; FleetKeys::KEY_LEN]));
        let registry = FleetRegistry::start(vec![store.engine()], fleet)?;
        settings = settings.registry(Arc::new(registry));
    }
    let acceptor = MultipathAcceptor::builder(config, settings).build()?;
    let mut listener = MultipathListener::new(acceptor, incoming, ListenerLimits::default());
    loop {
        let (stream, _) = listener.accept().await;
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let verdict = stream.verdict_handle();
            echo(stream, || Some(verdict.get().outcome.as_str()), &log).await
        });
    }
}

async fn echo<S>(
    mut stream: S,
    outcome: impl Fn() -> Option<&'static str>,
    log: &Log,
) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = [0; 4];
    loop {
        stream.read_exact(&mut request).await?;
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Served {
                request_at: turmoil::elapsed(),
                outcome: outcome(),
            });
        stream.write_all(&request).await?;
        stream.flush().await?;
    }
}

/// Passes bytes on, both ways.
pub(super) async fn relay(to: &'static str) -> turmoil::Result {
    let mut incoming = SimListener::bind(PORT).await?;
    loop {
        let (mut near, _) = incoming.accept().await?;
        tokio::spawn(async move {
            let mut far = TcpStream::connect((to, PORT)).await?;
            copy_bidirectional(&mut near, &mut far).await
        });
    }
}

/// Terminates TLS and relays what it reads to the server, over TLS of its own.
pub(super) async fn terminator(
    rogue: Arc<ServerConfig>,
    onward: Arc<ClientConfig>,
) -> turmoil::Result {
    let mut incoming = SimListener::bind(PORT).await?;
    loop {
        let (tcp, _) = incoming.accept().await?;
        let acceptor = TlsAcceptor::from(Arc::clone(&rogue));
        let connector = TlsConnector::from(Arc::clone(&onward));
        tokio::spawn(async move {
            let mut near = acceptor.accept(tcp).await?;
            let tcp = TcpStream::connect((SERVER, PORT)).await?;
            let name = ServerName::try_from(SERVER).map_err(std::io::Error::other)?;
            let mut far = connector.connect(name, tcp).await?;
            copy_bidirectional(&mut near, &mut far).await
        });
    }
}

/// Takes connections and says nothing.
pub(super) async fn silent() -> turmoil::Result {
    let mut incoming = SimListener::bind(PORT).await?;
    let mut held = Vec::new();
    loop {
        held.push(incoming.accept().await?);
    }
}
