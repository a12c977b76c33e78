//! Servers of plain TLS, a client of them, and paths that lead to any address.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mtls_certs::{Leaf, Pki};
use mtls_core::path::{Dial, DialError, DialFailure, Dialed, Endpoint, PathKind, RouteInfo};
use mtls_core::{
    ClientSettings, ClientStream, ConnectorBuilder, Error, Method, MultipathConnector, Policy,
    Unverified, Verdict,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) const HOST: &str = "server.test";
/// The victim's request.
pub(crate) const SECRET: &[u8] = b"GET /secret\n";
/// The server's response.
pub(crate) const PAGE: &[u8] = b"the server's page\n";

/// The certificates. The client trusts both authorities: the rogue one too.
pub(crate) struct World {
    pub(crate) pki: Pki,
    _clock: Option<StoppedClock>,
}

impl World {
    /// A world without time: a ticket that the machine delays is waited for.
    pub(crate) fn new() -> Self {
        Self {
            _clock: Some(StoppedClock::new()),
            ..Self::in_real_time()
        }
    }

    /// A world in which deadlines and waits for tickets end.
    pub(crate) fn in_real_time() -> Self {
        let pki = Pki::new(&[HOST]).expect("a pki");
        Self { pki, _clock: None }
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        self.pki.client_config(provider()).expect("a configuration")
    }

    /// A client with a certificate.
    pub(crate) fn client_with_certificate(&self) -> ClientConfig {
        let leaf = self.pki.ca.issue_client("alice").expect("a certificate");
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.roots())
            .with_client_auth_cert(leaf.chain_der(), leaf.key_der())
            .expect("a certificate")
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        self.pki.roots().expect("roots")
    }

    /// The server's configuration, with rustls's default tickets: stateful, and of single use.
    pub(crate) fn genuine(&self) -> ServerConfig {
        server_config(&self.pki.server)
    }

    /// The same of an attacker with a certificate of the rogue authority.
    pub(crate) fn rogue(&self) -> ServerConfig {
        server_config(&self.pki.rogue)
    }

    /// A server that demands a client certificate.
    pub(crate) fn demanding(&self, leaf: &Leaf) -> ServerConfig {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider());
        let verifier = verifier.build().expect("a verifier");
        ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(leaf.chain_der(), leaf.key_der())
            .expect("a certificate")
    }
}

/// Stops the clock of this test's runtime until it is dropped, or until the test advances it. Sockets work.
struct StoppedClock(#[expect(dead_code, reason = "its drop ends a task")] Sender<()>);

impl StoppedClock {
    fn new() -> Self {
        let (held, dropped) = channel();
        // A paused clock goes forward where nothing runs, but not while a blocking task does.
        tokio::task::spawn_blocking(move || dropped.recv());
        tokio::time::pause();
        Self(held)
    }
}

impl Drop for StoppedClock {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

pub(crate) fn server_config(leaf: &Leaf) -> ServerConfig {
    leaf.server_config(provider()).expect("a configuration")
}

/// A server of plain TLS: answers each line with its page.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    served: Arc<Mutex<Vec<Served>>>,
}

/// A connection as a server saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) kind: HandshakeKind,
    pub(crate) client_certificate: bool,
}

impl Site {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        Self::with_greeting(config, Vec::new()).await
    }

    /// A server that sends these bytes first.
    pub(crate) async fn with_greeting(config: ServerConfig, greeting: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let served = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&served);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
                let greeting = greeting.clone();
                tokio::spawn(async move { serve(acceptor, tcp, &greeting, &log).await });
            }
        });
        Self { address, served }
    }

    /// The connections whose handshakes were completed, in that order.
    pub(crate) fn served(&self) -> Vec<Served> {
        let served = self.served.lock();
        served.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    greeting: &[u8],
    log: &Mutex<Vec<Served>>,
) -> std::io::Result<()> {
    let mut tls = acceptor.accept(tcp).await?;
    let (_, connection) = tls.get_ref();
    let served = Served {
        kind: connection.handshake_kind().expect("a handshake"),
        client_certificate: connection.peer_certificates().is_some(),
    };
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(served);
    tls.write_all(greeting).await?;
    tls.flush().await?;
    let mut line = [0; 256];
    loop {
        let read = tls.read(&mut line).await?;
        if read == 0 {
            return tls.shutdown().await;
        }
        tls.write_all(PAGE).await?;
        tls.flush().await?;
    }
}

/// A path that leads to these addresses, whatever is dialled: to the next one each time.
#[derive(Clone, Debug)]
pub(crate) struct To {
    addresses: Vec<SocketAddr>,
    dials: Arc<AtomicUsize>,
}

impl To {
    pub(crate) fn one(address: SocketAddr) -> Self {
        Self::each(&[address])
    }

    pub(crate) fn each(addresses: &[SocketAddr]) -> Self {
        Self {
            addresses: addresses.to_vec(),
            dials: Arc::default(),
        }
    }

    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }
}

impl Dial for To {
    type Stream = TcpStream;

    fn dial(&self, to: &Endpoint) -> BoxFuture<'static, Result<Dialed<TcpStream>, DialError>> {
        let dial = self.dials.fetch_add(1, Ordering::Relaxed);
        let address = self.addresses[dial % self.addresses.len()];
        let to = to.clone();
        async move {
            let connected = TcpStream::connect(address).await.map_err(|error| {
                let reason = DialFailure::Other(Arc::new(error));
                DialError::new(PathKind::Direct, to, reason)
            })?;
            connected.set_nodelay(true).expect("a TCP socket");
            Ok(Dialed {
                local: connected.local_addr().ok(),
                peer: connected.peer_addr().ok(),
                stream: connected,
                via: PathKind::Direct,
                resolver: None,
                route: RouteInfo::default().into(),
                mptcp: false,
            })
        }
        .boxed()
    }
}

pub(crate) fn target() -> Endpoint {
    format!("{HOST}:443").parse().expect("an endpoint")
}

/// A connector with one side path, whose deadline no test reaches by accident.
pub(crate) fn builder(
    config: ClientConfig,
    policy: Policy,
    primary: &To,
    side: &To,
) -> ConnectorBuilder<To> {
    builder_with(config, settings(policy, primary, side))
}

pub(crate) fn settings(policy: Policy, primary: &To, side: &To) -> ClientSettings<To> {
    ClientSettings::with_primary(policy, primary.clone())
        .side(side.clone())
        .deadline(Duration::from_secs(30))
        .handshake_timeout(Duration::from_secs(30))
}

pub(crate) fn builder_with(
    config: ClientConfig,
    settings: ClientSettings<To>,
) -> ConnectorBuilder<To> {
    MultipathConnector::builder(Arc::new(config), settings).method(Method::Resumption)
}

pub(crate) async fn connect(
    world: &World,
    policy: Policy,
    primary: &To,
    side: &To,
) -> Result<ClientStream<TcpStream>, Error> {
    let builder = builder(world.client_config(), policy, primary, side);
    let connector = builder.build().expect("a connector");
    connector.connect(&target()).await
}

/// Connects under `require`, and returns the verdict on the connection or on what was refused.
pub(crate) async fn verdict(world: &World, primary: &To, side: &To) -> Verdict {
    match connect(world, Policy::Require, primary, side).await {
        Ok(mut stream) => {
            assert_eq!(ask(&mut stream).await.expect("an answer"), PAGE);
            stream.verdict()
        }
        Err(error) => refused(error).verdict,
    }
}

pub(crate) fn refused(error: Error) -> Unverified {
    match error {
        Error::Unverified(unverified) => *unverified,
        other => panic!("expected a refusal by the policy, got {other:?}"),
    }
}

/// Sends the secret, and reads the answer.
pub(crate) async fn ask<S>(stream: &mut S) -> std::io::Result<Vec<u8>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stream.write_all(SECRET).await?;
    stream.flush().await?;
    let mut page = vec![0; PAGE.len()];
    stream.read_exact(&mut page).await?;
    Ok(page)
}

/// A victim of plain TLS, with this configuration.
pub(crate) async fn plain(config: ClientConfig, to: SocketAddr) -> std::io::Result<Vec<u8>> {
    let tcp = TcpStream::connect(to).await?;
    let name = HOST.try_into().expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    ask(&mut connector.connect(name, tcp).await?).await
}
