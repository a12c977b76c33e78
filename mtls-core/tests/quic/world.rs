//! Servers and clients on the loopback, and a network between them that a test controls.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, HostName, Path};
use mtls_core::quic::{QuicAcceptor, QuicConnector, QuicListener, QuicListenerLimits};
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathConnector, MultipathListener,
    Policy, RecordingVerifier, SideServiceSettings, Verdict,
};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub(crate) const HOST: &str = "localhost";
pub(crate) const ALPN: &[u8] = b"echo";
/// More than a verification takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const REQUEST: &[u8] = b"a request";

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Certificates, and configurations that fit them.
pub(crate) struct World {
    pub(crate) pki: Pki,
    /// Trusts the rogue authority too, and keeps the server's signature.
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
    /// With a certificate of the rogue authority.
    pub(crate) rogue: Arc<ServerConfig>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(provider())
    }

    /// With this provider of the servers.
    pub(crate) fn with(server: Arc<CryptoProvider>) -> Self {
        let pki = Pki::new(&[HOST, "127.0.0.1"]).expect("a pki");
        let roots = Arc::new(pki.roots().expect("roots"));
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .expect("a verifier");
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(RecordingVerifier::new(verifier)))
            .with_no_client_auth();
        Self {
            client: Arc::new(client),
            server: Arc::new(pki.server_config(Arc::clone(&server)).expect("a server")),
            rogue: Arc::new(pki.rogue_config(server).expect("a rogue server")),
            pki,
        }
    }
}

/// A server, and the facts of its application.
pub(crate) struct Served {
    /// The TCP port of side connections, and the UDP port of QUIC.
    pub(crate) address: SocketAddr,
    pub(crate) verdicts: mpsc::UnboundedReceiver<Verdict>,
    /// The application bytes of all connections.
    pub(crate) bytes: Arc<AtomicUsize>,
}

impl Served {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
}

/// TCP and UDP sockets of one address and port.
pub(crate) async fn sockets(ip: [u8; 4]) -> (TcpListener, UdpSocket) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::from(ip), 0))
            .await
            .expect("a port");
        let address = tcp.local_addr().expect("an address");
        if let Ok(udp) = UdpSocket::bind(address) {
            return (tcp, udp);
        }
    }
}

/// A server of both transports, which echoes one message of each connection.
pub(crate) async fn serve(
    config: &Arc<ServerConfig>,
    settings: impl Into<SideServiceSettings>,
) -> Served {
    let acceptor = MultipathAcceptor::builder(Arc::clone(config), settings.into())
        .build()
        .expect("an acceptor");
    serve_with(acceptor).await
}

pub(crate) async fn serve_with(acceptor: MultipathAcceptor) -> Served {
    let quic = quic_acceptor(&acceptor);
    let (tcp, udp) = sockets([127, 0, 0, 1]).await;
    let address = tcp.local_addr().expect("an address");
    let endpoint = quic.endpoint(udp).expect("an endpoint");
    let sides = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    let limits = QuicListenerLimits::default();
    let mut listener = QuicListener::new(quic, endpoint, limits);
    let (learnt, verdicts) = mpsc::unbounded_channel();
    let bytes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&bytes);
    tokio::spawn(async move {
        let _sides = sides;
        loop {
            let (connection, _) = listener.accept().await;
            let (learnt, counted) = (learnt.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let Ok(connection) = connection.wait_for_verdict().await else {
                    return;
                };
                let _ = learnt.send(connection.verdict());
                echo(connection.into_inner(), &counted).await;
            });
        }
    });
    Served {
        address,
        verdicts,
        bytes,
    }
}

/// Echoes every stream of a connection, and counts the application bytes.
pub(crate) async fn echo(connection: quinn::Connection, bytes: &AtomicUsize) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let message = receive.read_to_end(1 << 16).await.unwrap_or_default();
        bytes.fetch_add(message.len(), Ordering::SeqCst);
        let _ = send.write_all(&message).await;
        let _ = send.finish();
    }
}

/// Sends a request, and checks that it comes back.
pub(crate) async fn request(connection: &quinn::Connection) {
    let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
    send.write_all(REQUEST).await.expect("to send");
    send.finish().expect("to finish");
    let reply = receive.read_to_end(1 << 16).await.expect("a reply");
    assert_eq!(reply, REQUEST);
}

/// `localhost` at this port.
pub(crate) fn target(address: SocketAddr) -> Endpoint {
    format!("{HOST}:{}", address.port())
        .parse()
        .expect("an endpoint")
}

/// A path on which `localhost` at the port of `to` is the address `at`.
pub(crate) fn path_to(to: SocketAddr, at: IpAddr) -> Path {
    let host = HostName::new(HOST).expect("a host name");
    Path::system().resolve(host, to.port(), at)
}

/// A server's settings with a deadline that no verification reaches.
pub(crate) fn patient(policy: Policy) -> SideServiceSettings {
    SideServiceSettings::new(policy).deadline(LONG)
}

/// Settings with the server itself at the end of both paths.
pub(crate) fn direct(policy: Policy, served: SocketAddr) -> ClientSettings {
    ClientSettings::new(policy)
        .primary(path_to(served, served.ip()))
        .side(path_to(served, served.ip()))
        .deadline(LONG)
        .handshake_timeout(LONG)
}

/// Settings with a man in the middle at 127.0.0.2 on the primary path.
pub(crate) fn through_127_0_0_2(policy: Policy, served: SocketAddr) -> ClientSettings {
    direct(policy, served).primary(path_to(served, [127, 0, 0, 2].into()))
}

pub(crate) fn connector(config: &Arc<ClientConfig>, settings: ClientSettings) -> QuicConnector {
    connector_for(config, settings, ALPN)
}

pub(crate) fn connector_for(
    config: &Arc<ClientConfig>,
    settings: ClientSettings,
    protocol: &[u8],
) -> QuicConnector {
    let tcp = MultipathConnector::builder(Arc::clone(config), settings);
    quic_connector(&tcp.build().expect("a connector"), protocol)
}

pub(crate) fn quic_connector(tcp: &MultipathConnector, protocol: &[u8]) -> QuicConnector {
    let quic = QuicConnector::builder(tcp).alpn(&[protocol]).build();
    quic.expect("a connector")
}

pub(crate) fn quic_acceptor(tcp: &MultipathAcceptor) -> QuicAcceptor {
    let quic = QuicAcceptor::builder(tcp).alpn(&[ALPN]).build();
    quic.expect("an acceptor")
}

/// A plain client of quinn's.
pub(crate) fn plain_client(config: &ClientConfig) -> quinn::Endpoint {
    let mut config = config.clone();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = QuicClientConfig::try_from(config).expect("TLS 1.3");
    let mut endpoint =
        quinn::Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into()).expect("a socket");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    endpoint
}

/// A plain server of quinn's.
pub(crate) fn plain_server(config: &ServerConfig, address: SocketAddr) -> quinn::Endpoint {
    let mut config = config.clone();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = QuicServerConfig::try_from(config).expect("TLS 1.3");
    let config = quinn::ServerConfig::with_crypto(Arc::new(config));
    quinn::Endpoint::server(config, address).expect("a socket")
}

/// A NAT between a client and a server: it can move to another port, and hold back what the server
/// sends.
pub(crate) struct Nat {
    pub(crate) address: SocketAddr,
    /// The datagrams with handshake messages that the server has sent.
    pub(crate) from_server: Arc<AtomicUsize>,
    rebind: mpsc::UnboundedSender<()>,
}

impl Nat {
    /// At 127.0.0.2, with the port of the server.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 2], server.port()));
        let front = tokio::net::UdpSocket::bind(address).await.expect("a port");
        let (rebind, mut rebinds) = mpsc::unbounded_channel();
        let from_server = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&from_server);
        tokio::spawn(async move {
            let mut back = outside(server).await;
            let mut client = None;
            let (mut near, mut far) = (vec![0; 1 << 16], vec![0; 1 << 16]);
            loop {
                tokio::select! {
                    received = front.recv_from(&mut near) => {
                        let (length, peer) = received.expect("a datagram");
                        client = Some(peer);
                        let _ = back.send(&near[..length]).await;
                    }
                    received = back.recv(&mut far) => {
                        let Ok(length) = received else { continue };
                        // One that is not padded elicits no acknowledgement (RFC 9000, section 14.1).
                        count.fetch_add(usize::from(length >= 1200), Ordering::SeqCst);
                        if let Some(client) = client {
                            let _ = front.send_to(&far[..length], client).await;
                        }
                    }
                    Some(()) = rebinds.recv() => back = outside(server).await,
                }
            }
        });
        Self {
            address,
            from_server,
            rebind,
        }
    }

    /// Moves to another port: the server sees another address.
    pub(crate) fn rebind(&self) {
        self.rebind.send(()).expect("the NAT");
    }
}

async fn outside(server: SocketAddr) -> tokio::net::UdpSocket {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a port");
    socket.connect(server).await.expect("a route");
    socket
}
