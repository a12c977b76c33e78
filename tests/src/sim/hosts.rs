//! The programs on the hosts of the simulated network.

use std::sync::{Arc, Mutex, PoisonError};

use mtls_core::quic::{QuicAcceptor, QuicListener, QuicListenerLimits};
use mtls_core::registry::fleet::double::MemoryStore;
use mtls_core::registry::fleet::{FleetKeys, FleetRegistry, FleetSettings, MachineId};
use mtls_core::{
    Incoming, ListenerLimits, MultipathAcceptor, MultipathListener, Policy, SideServiceSettings,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use turmoil::net::TcpStream;

use super::{PORT, SERVER, Served, ServerKind, SimListener, datagrams};
use crate::quic::{self, ALPN, QuicStream};

/// A connection as the server saw it.
pub(super) type Log = Arc<Mutex<Vec<Served>>>;

/// A server that answers every request of four bytes with the same four bytes.
pub(super) struct Server {
    pub(super) kind: ServerKind,
    pub(super) quic: bool,
    pub(super) config: Arc<ServerConfig>,
    pub(super) log: Log,
}

impl Server {
    pub(super) async fn run(self, machine: Option<(MemoryStore, MachineId)>) -> turmoil::Result {
        let incoming = SimListener::bind(PORT).await?;
        match self.kind {
            ServerKind::Plain => self.plain(incoming).await,
            ServerKind::Multipath(policy) => self.multipath(policy, machine, incoming).await,
        }
    }

    async fn plain(self, mut incoming: SimListener) -> turmoil::Result {
        let Self { config, log, .. } = self;
        if self.quic {
            let config = quic::server_config((*config).clone())?;
            let endpoint = datagrams::endpoint(PORT, Some(config)).await?;
            tokio::spawn(serve_plain_quic(endpoint, Arc::clone(&log)));
        }
        let acceptor = TlsAcceptor::from(config);
        loop {
            let (tcp, _) = incoming.accept().await?;
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let stream = acceptor.accept(tcp).await?;
                echo(stream, || None, &log).await
            });
        }
    }

    async fn multipath(
        self,
        policy: Policy,
        machine: Option<(MemoryStore, MachineId)>,
        incoming: SimListener,
    ) -> turmoil::Result {
        let mut settings = SideServiceSettings::new(policy);
        if let Some((store, machine)) = machine {
            let fleet = FleetSettings::new(machine, FleetKeys::new(&[7; FleetKeys::KEY_LEN]));
            let registry = FleetRegistry::start(vec![store.engine()], fleet)?;
            settings = settings.registry(Arc::new(registry));
        }
        let acceptor = MultipathAcceptor::builder(Arc::clone(&self.config), settings).build()?;
        if self.quic {
            let config = quic::server_config((*self.config).clone())?;
            let endpoint = datagrams::endpoint(PORT, Some(config)).await?;
            let quic = QuicAcceptor::builder(&acceptor).alpn(&[ALPN]).build()?;
            let listener = QuicListener::new(quic, endpoint, QuicListenerLimits::default());
            tokio::spawn(serve_quic(listener, Arc::clone(&self.log)));
        }
        let mut listener = MultipathListener::new(acceptor, incoming, ListenerLimits::default());
        loop {
            let (stream, _) = listener.accept().await;
            let log = Arc::clone(&self.log);
            tokio::spawn(async move {
                let verdict = stream.verdict_handle();
                echo(stream, || Some(verdict.get().outcome.as_str()), &log).await
            });
        }
    }
}

async fn serve_plain_quic(endpoint: quinn::Endpoint, log: Log) {
    while let Some(incoming) = endpoint.accept().await {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let stream = QuicStream::accept(incoming.await?).await?;
            echo(stream, || None, &log).await
        });
    }
}

async fn serve_quic(mut listener: QuicListener, log: Log) {
    loop {
        let (connection, _) = listener.accept().await;
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let connection = connection.wait_for_verdict().await?;
            let (connection, verdict) = connection.into_parts();
            let stream = QuicStream::accept(connection).await?;
            echo(stream, || Some(verdict.get().outcome.as_str()), &log).await?;
            Ok::<_, mtls_core::Error>(())
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

/// Terminates TLS and relays what it reads to the server, over TLS of its own. QUIC it only terminates.
pub(super) async fn terminator(
    rogue: Arc<ServerConfig>,
    onward: Arc<ClientConfig>,
    quic: bool,
) -> turmoil::Result {
    let mut incoming = SimListener::bind(PORT).await?;
    if quic {
        let config = quic::server_config((*rogue).clone())?;
        let endpoint = datagrams::endpoint(PORT, Some(config)).await?;
        tokio::spawn(serve_plain_quic(endpoint, Log::default()));
    }
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
