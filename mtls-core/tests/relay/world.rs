//! Clients, servers and relays on the loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mtls_certs::Pki;
use mtls_core::path::{Dial, DialError, Dialed, Endpoint, HostName, Path};
use mtls_core::relay::{
    ClientRelay, ClientRelayBuilder, RelayListener, ServerRelay, TunnelMonitor, TunnelReport,
};
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathListener, Policy,
    SideServiceSettings, Verdict,
};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

pub(crate) const HOST: &str = "localhost";
/// More than a verification takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const QUESTION: &[u8] = b"a question";

/// Certificates, and configurations that fit them.
pub(crate) struct World {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
    /// With the rogue CA's certificate, which the client trusts.
    pub(crate) rogue: Arc<ServerConfig>,
}

/// A test's choices for the server's TLS.
#[derive(Clone, Copy, Default)]
pub(crate) struct Choice<'a> {
    pub(crate) groups: Option<&'a [&'static dyn SupportedKxGroup]>,
    pub(crate) versions: Option<&'a [&'static SupportedProtocolVersion]>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Choice::default())
    }

    pub(crate) fn with(choice: Choice<'_>) -> Self {
        let pki = Pki::new(&[HOST, "127.0.0.1"]).expect("a pki");
        let client = pki.client_config(provider(None)).expect("a client");
        let server = |chain, key| {
            let versions = choice.versions.unwrap_or(rustls::ALL_VERSIONS);
            let config = ServerConfig::builder_with_provider(provider(choice.groups))
                .with_protocol_versions(versions)
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .expect("a certificate");
            Arc::new(config)
        };
        Self {
            client: Arc::new(client),
            server: server(pki.server.chain_der(), pki.server.key_der()),
            rogue: server(pki.rogue.chain_der(), pki.rogue.key_der()),
        }
    }
}

fn provider(groups: Option<&[&'static dyn SupportedKxGroup]>) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(groups) = groups {
        provider.kx_groups = groups.to_vec();
    }
    Arc::new(provider)
}

pub(crate) async fn bind(ip: [u8; 4], port: u16) -> TcpListener {
    let address = SocketAddr::from((Ipv4Addr::from(ip), port));
    TcpListener::bind(address).await.expect("a port")
}

pub(crate) fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("an address")
}

/// `localhost`, at this port.
pub(crate) fn target(address: SocketAddr) -> Endpoint {
    format!("{HOST}:{}", address.port())
        .parse()
        .expect("an endpoint")
}

/// A path on which `localhost` is this address.
pub(crate) fn path_to(address: SocketAddr) -> Path {
    let host = HostName::new(HOST).expect("a host name");
    Path::system().resolve(host, address.port(), address.ip())
}

/// A library server that echoes one message of each connection, and says what it learnt.
pub(crate) async fn library_server(
    config: &Arc<ServerConfig>,
    policy: Policy,
) -> (SocketAddr, mpsc::UnboundedReceiver<Verdict>) {
    let tcp = bind([127, 0, 0, 1], 0).await;
    (address(&tcp), library_server_on(tcp, config, policy))
}

/// The same at this listener.
pub(crate) fn library_server_on(
    tcp: TcpListener,
    config: &Arc<ServerConfig>,
    policy: Policy,
) -> mpsc::UnboundedReceiver<Verdict> {
    let settings = SideServiceSettings::new(policy).deadline(LONG);
    let acceptor = MultipathAcceptor::builder(Arc::clone(config), settings)
        .build()
        .expect("an acceptor");
    let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    let (learnt, verdicts) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await;
            let learnt = learnt.clone();
            tokio::spawn(async move {
                if let Ok(stream) = stream.wait_for_verdict().await {
                    let _ = learnt.send(stream.verdict());
                    echo(stream).await;
                }
            });
        }
    });
    verdicts
}

/// A plain tokio-rustls server that echoes, and tells how many application bytes each connection
/// brought it.
pub(crate) async fn plain_server(
    config: &Arc<ServerConfig>,
    tcp: TcpListener,
) -> mpsc::UnboundedReceiver<usize> {
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    let (counted, counts) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = tcp.accept().await {
            let (acceptor, counted) = (acceptor.clone(), counted.clone());
            tokio::spawn(async move {
                let count = match acceptor.accept(tcp).await {
                    Ok(stream) => echo(stream).await,
                    Err(_) => 0,
                };
                let _ = counted.send(count);
            });
        }
    });
    counts
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> usize {
    let mut count = 0;
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        count += read;
        if stream.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = stream.shutdown().await;
    count
}

/// A passthrough to `to`, and the monitors of its tunnels.
pub(crate) async fn passthrough<D: Dial>(
    relay: ServerRelay<D>,
) -> (SocketAddr, mpsc::UnboundedReceiver<TunnelMonitor>) {
    let tcp = bind([127, 0, 0, 1], 0).await;
    let address = address(&tcp);
    let (begun, monitors) = mpsc::unbounded_channel();
    let mut listener = RelayListener::new(relay, ListenerLimits::default(), move |monitor, _| {
        let _ = begun.send(monitor);
    });
    listener.add(tcp);
    tokio::spawn(async move {
        let _listener = listener;
        std::future::pending::<()>().await;
    });
    (address, monitors)
}

pub(crate) fn server_relay(to: SocketAddr, policy: Policy) -> ServerRelay {
    let settings = SideServiceSettings::new(policy).deadline(LONG);
    ServerRelay::builder(&aws_lc_rs::default_provider(), to.into(), settings)
        .build()
        .expect("a relay")
}

/// A client's settings with a deadline that no verification reaches.
pub(crate) fn settings(policy: Policy) -> ClientSettings {
    ClientSettings::new(policy).deadline(LONG)
}

pub(crate) fn client_relay<D: Dial>(settings: ClientSettings<D>) -> ClientRelayBuilder<D> {
    ClientRelay::builder(&aws_lc_rs::default_provider(), settings)
}

/// A client's end of a tunnel that has begun, and its coming report.
pub(crate) async fn begin<D: Dial>(
    relay: &ClientRelay<D>,
    to: Endpoint,
) -> (TcpStream, JoinHandle<TunnelReport>) {
    let (client, relayed) = tcp_pair().await;
    (client, tokio::spawn(relay.tunnel(to).run(relayed)))
}

pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = bind([127, 0, 0, 1], 0).await;
    let (near, far) = tokio::join!(TcpStream::connect(address(&listener)), listener.accept());
    let (near, (far, _)) = (near.expect("a connection"), far.expect("a connection"));
    near.set_nodelay(true).expect("a socket");
    far.set_nodelay(true).expect("a socket");
    (near, far)
}

/// A plain tokio-rustls client's handshake.
pub(crate) async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ClientConfig>,
    stream: S,
) -> std::io::Result<client::TlsStream<S>> {
    let name = HOST.try_into().expect("a name");
    TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
}

/// Asks, and returns the answer.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
) -> std::io::Result<Vec<u8>> {
    stream.write_all(QUESTION).await?;
    stream.flush().await?;
    let mut answer = vec![0; QUESTION.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A stream of which at most one byte is read at a time.
pub(crate) struct Dribble<S>(pub(crate) S);

impl<S: AsyncRead + Unpin> AsyncRead for Dribble<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut one);
        buf.put_slice(one.filled());
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Dribble<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &buf[..buf.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A path of such streams.
pub(crate) struct Dribbling(pub(crate) Path);

impl Dial for Dribbling {
    type Stream = Dribble<TcpStream>;

    fn dial(&self, to: &Endpoint) -> BoxFuture<'static, Result<Dialed<Self::Stream>, DialError>> {
        let dial = self.0.dial(to);
        async move {
            let dialed = dial.await?;
            Ok(Dialed {
                stream: Dribble(dialed.stream),
                local: dialed.local,
                peer: dialed.peer,
                via: dialed.via,
                resolver: dialed.resolver,
                route: dialed.route,
                mptcp: dialed.mptcp,
            })
        }
        .boxed()
    }
}
