//! The server with the secret page.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mtls_core::quic::{QuicAcceptor, QuicListener, QuicListenerLimits};
use mtls_core::registry::{MemoryRegistry, MemoryRegistryLimits};
use mtls_core::smkex::SmkexServer;
use mtls_core::{
    ListenerLimits, MultipathAcceptor, MultipathListener, Policy, SideServiceSettings, Verdict,
    VerdictHandle,
};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::quic::{ALPN, QuicStream, plain_server};
use crate::secrets::PAGE_SECRET;
use crate::sockets::{mptcp_listener, udp_and_tcp};
use crate::tasks::{Listening, Tasks};
use crate::{Result, tls};

/// The longest request that the server reads, in bytes.
const MAX_REQUEST: usize = 16 * 1024;

type Tune = dyn FnOnce(SideServiceSettings) -> SideServiceSettings + Send;

/// The protocol that a server runs beside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Nothing,
    Multipath(Policy),
    Smkex,
}

/// How a server is set up.
pub struct Setup {
    speaks: Speaks,
    pub(crate) tls: Option<ServerConfig>,
    registry: MemoryRegistryLimits,
    listener: ListenerLimits,
    mptcp: bool,
    quic: bool,
    tune: Box<Tune>,
}

impl Setup {
    /// A server of multipath TLS with this policy.
    pub fn new(policy: Policy) -> Self {
        Self {
            speaks: Speaks::Multipath(policy),
            ..Self::plain()
        }
    }

    /// A server without a certificate, that the side protocol alone authenticates.
    pub fn smkex() -> Self {
        Self {
            speaks: Speaks::Smkex,
            ..Self::plain()
        }
    }

    /// A server that knows nothing of multipath TLS.
    pub fn plain() -> Self {
        Self {
            speaks: Speaks::Nothing,
            tls: None,
            registry: MemoryRegistryLimits::default(),
            listener: ListenerLimits::default(),
            mptcp: false,
            quic: false,
            tune: Box::new(|settings| settings),
        }
    }

    /// Listens for Multipath TCP too.
    #[must_use]
    pub fn mptcp(mut self) -> Self {
        self.mptcp = true;
        self
    }

    /// Serves QUIC too, on the UDP port of the same number.
    #[must_use]
    pub fn quic(mut self) -> Self {
        self.quic = true;
        self
    }

    /// Another TLS configuration than the world's.
    #[must_use]
    pub fn tls(mut self, config: ServerConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// Other bounds of the registry.
    #[must_use]
    pub fn registry(mut self, change: impl FnOnce(&mut MemoryRegistryLimits)) -> Self {
        change(&mut self.registry);
        self
    }

    /// Other bounds of the listener.
    #[must_use]
    pub fn listener(mut self, change: impl FnOnce(&mut ListenerLimits)) -> Self {
        change(&mut self.listener);
        self
    }

    /// Changes the settings of the acceptor.
    #[must_use]
    pub fn tune(
        mut self,
        tune: impl FnOnce(SideServiceSettings) -> SideServiceSettings + Send + 'static,
    ) -> Self {
        self.tune = Box::new(tune);
        self
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("speaks", &self.speaks)
            .finish_non_exhaustive()
    }
}

/// Tasks that end with the server.
#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop")]
enum Running {
    Plain(Listening),
    Multipath(Tasks),
}

/// A server that answers every request with its secret page, and counts. It ends when it is
/// dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// Its registry, empty where it knows nothing of multipath TLS.
    pub registry: MemoryRegistry,
    seen: Arc<Seen>,
    _running: Running,
    _quic: Tasks,
}

#[derive(Debug, Default)]
struct Seen {
    bytes: AtomicUsize,
    silent: AtomicUsize,
    verdicts: Mutex<Vec<VerdictHandle>>,
}

impl Server {
    pub(crate) async fn start(
        address: SocketAddr,
        tls: ServerConfig,
        setup: Setup,
    ) -> Result<Self> {
        let registry = MemoryRegistry::new(setup.registry);
        let seen = Arc::new(Seen::default());
        let tls = Arc::new(tls);
        let settings = |policy| {
            let settings = SideServiceSettings::new(policy)
                .deadline(std::time::Duration::from_secs(10))
                .registry(Arc::new(registry.clone()));
            (setup.tune)(settings)
        };
        let builder = match setup.speaks {
            Speaks::Nothing => None,
            Speaks::Multipath(policy) => Some(MultipathAcceptor::builder(
                Arc::clone(&tls),
                settings(policy),
            )),
            Speaks::Smkex => {
                let settings = settings(Policy::Require);
                Some(SmkexServer::new(tls::provider()).acceptor(settings)?)
            }
        };
        let (udp, tcp) = match (setup.quic, setup.mptcp) {
            (true, _) => {
                let (udp, tcp) = udp_and_tcp(address)?;
                (Some(udp), tcp)
            }
            (false, true) => (None, mptcp_listener(address)?),
            (false, false) => (None, TcpListener::bind(address).await?),
        };
        let quic = Tasks::default();
        let (address, running) = match builder {
            None => {
                if let Some(udp) = udp {
                    let endpoint = plain_server((*tls).clone(), udp)?;
                    quic.spawn(serve_plain_quic(endpoint, Arc::clone(&seen)));
                }
                let listening = serve_plain(tcp, tls, Arc::clone(&seen))?;
                (listening.address, Running::Plain(listening))
            }
            Some(builder) => {
                let acceptor = builder.build()?;
                if let Some(udp) = udp {
                    let listener = quic_listener(&acceptor, udp)?;
                    quic.spawn(serve_quic(listener, Arc::clone(&seen)));
                }
                let address = tcp.local_addr()?;
                let listener = MultipathListener::new(acceptor, tcp, setup.listener);
                let tasks = Tasks::default();
                tasks.spawn(serve_multipath(listener, Arc::clone(&seen)));
                (address, Running::Multipath(tasks))
            }
        };
        Ok(Self {
            address,
            registry,
            seen,
            _running: running,
            _quic: quic,
        })
    }

    /// The address that it listens at, for TLS and for side connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many application bytes it has read.
    pub fn bytes(&self) -> usize {
        self.seen.bytes.load(Ordering::SeqCst)
    }

    /// The verdicts of the connections that it has served, as of now, in their order.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let verdicts = self.seen.lock();
        verdicts.iter().map(VerdictHandle::get).collect()
    }

    /// How many connections had not sent a complete ClientHello when it last looked.
    pub fn silent(&self) -> usize {
        self.seen.silent.load(Ordering::SeqCst)
    }
}

impl Seen {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<VerdictHandle>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve_plain(
    tcp: TcpListener,
    tls: Arc<ServerConfig>,
    seen: Arc<Seen>,
) -> std::io::Result<Listening> {
    let acceptor = TlsAcceptor::from(tls);
    Listening::on(tcp, move |tcp, _| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            if let Ok(stream) = acceptor.accept(tcp).await {
                let _ = answer(stream, &seen).await;
            }
        }
    })
}

async fn serve_multipath(mut listener: MultipathListener<TcpStream>, seen: Arc<Seen>) {
    let connections = Tasks::default();
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        let accepted = tokio::select! {
            (stream, _) = listener.accept() => Some(stream),
            _ = look.tick() => None,
        };
        seen.silent.store(listener.silent(), Ordering::SeqCst);
        if let Some(stream) = accepted {
            seen.lock().push(stream.verdict_handle());
            let seen = Arc::clone(&seen);
            connections.spawn(async move {
                let _ = answer(stream, &seen).await;
            });
        }
    }
}

fn quic_listener(acceptor: &MultipathAcceptor, udp: UdpSocket) -> Result<QuicListener> {
    let quic = QuicAcceptor::builder(acceptor).alpn(&[ALPN]).build()?;
    let endpoint = quic.endpoint(udp)?;
    Ok(QuicListener::new(
        quic,
        endpoint,
        QuicListenerLimits::default(),
    ))
}

async fn serve_plain_quic(endpoint: quinn::Endpoint, seen: Arc<Seen>) {
    let connections = Tasks::default();
    while let Some(incoming) = endpoint.accept().await {
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            if let Ok(connection) = incoming.await {
                let _ = answer_quic(connection, &seen).await;
            }
        });
    }
}

async fn serve_quic(mut listener: QuicListener, seen: Arc<Seen>) {
    let connections = Tasks::default();
    loop {
        let (connection, _) = listener.accept().await;
        seen.lock().push(connection.verdict_handle());
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            if let Ok(connection) = connection.wait_for_verdict().await {
                let _ = answer_quic(connection.into_inner(), &seen).await;
            }
        });
    }
}

async fn answer_quic(connection: quinn::Connection, seen: &Seen) -> Result {
    let mut stream = QuicStream::accept(connection).await?;
    answer(&mut stream, seen).await?;
    stream.closed().await;
    Ok(())
}

/// Reads one request and answers it. A client that goes away is its own affair.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: &Seen) -> Result {
    let mut request = Vec::new();
    let mut buffer = [0; 2048];
    while !request.ends_with(b"\r\n\r\n") && request.len() < MAX_REQUEST {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        seen.bytes.fetch_add(read, Ordering::SeqCst);
        request.extend_from_slice(&buffer[..read]);
    }
    stream.write_all(&page(PAGE_SECRET)).await?;
    stream.shutdown().await?;
    Ok(())
}

/// An HTTP response with this body.
pub(crate) fn page(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
