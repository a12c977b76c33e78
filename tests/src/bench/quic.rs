//! Connections of QUIC: plain quinn against multipath QUIC.
//!
//! Every connection is a full handshake, one request and one response on a stream. The setup time is that of
//! the connect alone. CPU time is that of the whole process: of both ends, the kernel's part included.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::quic::{QuicAcceptor, QuicConnector, QuicListener, QuicListenerLimits};
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathConnector, MultipathListener,
    Policy,
};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use tokio::net::TcpListener;

use super::connections::clients::{finish, send};
use super::connections::{BATCH, KINDS, Kind, cpu_each_since, respond};
use super::figure::{Figure, Limit, Quantity, Subject};
use super::worker::{Worker, bind, micros, run_client};
use super::{BenchArgs, Comparison};
use crate::rounds::Subjects;
use crate::stats::Sorted;
use crate::{Result, meter, tls};

const ALPN: &[u8] = b"bench";
/// Sent over one connection in each round.
const MEGABYTES: u32 = 32;

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let (plain, multipath, _server) = serve(&pki)?;
    let args = args.clone();
    run_client(async move {
        let clients = Clients::new(&pki, plain, multipath)?;
        super::compare(&clients, &args).await
    })
}

/// A server of both kinds, on its own thread, and their addresses.
fn serve(pki: &Pki) -> Result<(SocketAddr, SocketAddr, Worker)> {
    let config = tls::server_config(&pki.server, tls::provider())?;
    let mut plain = config.clone();
    plain.alpn_protocols = vec![ALPN.to_vec()];
    let plain = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(plain)?));
    let plain_socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let tcp = bind()?;
    let (plain_address, multipath_address) = (plain_socket.local_addr()?, tcp.local_addr()?);
    let udp = UdpSocket::bind(multipath_address)?;
    let acceptor = MultipathAcceptor::builder(Arc::new(config), Policy::Require).build()?;
    let worker = Worker::start("server", move || async move {
        let runtime = Arc::new(quinn::TokioRuntime);
        let settings = quinn::EndpointConfig::default();
        let plain = quinn::Endpoint::new(settings, Some(plain), plain_socket, runtime)?;
        let quic = QuicAcceptor::builder(&acceptor).alpn(&[ALPN]).build()?;
        let endpoint = quic.endpoint(udp)?;
        let tcp = TcpListener::from_std(tcp)?;
        let _sides = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
        let mut listener = QuicListener::new(quic, endpoint, QuicListenerLimits::default());
        loop {
            tokio::select! {
                Some(incoming) = plain.accept() => {
                    tokio::spawn(async move { answer(incoming.await?).await });
                }
                (connection, _) = listener.accept() => {
                    tokio::spawn(answer(connection.into_inner()));
                }
            }
        }
    })?;
    Ok((plain_address, multipath_address, worker))
}

async fn answer(connection: quinn::Connection) -> Result {
    let (send, receive) = connection.accept_bi().await?;
    respond(tokio::io::join(receive, send)).await?;
    Ok(())
}

/// One client of each kind.
struct Clients {
    plain: quinn::Endpoint,
    plain_address: SocketAddr,
    fresh: QuicConnector,
    pooled: QuicConnector,
    multipath: Endpoint,
}

impl Clients {
    fn new(pki: &Pki, plain_address: SocketAddr, multipath: SocketAddr) -> Result<Self> {
        let config = tls::client_config(&pki.ca)?;
        let settings = ClientSettings::new(Policy::Require).side(Path::system());
        let connector = |settings| {
            let tcp = MultipathConnector::builder(Arc::new(config.clone()), settings).build()?;
            QuicConnector::builder(&tcp)
                .alpn(&[ALPN])
                .tickets(0)
                .build()
        };
        let fresh = connector(settings.clone().side_idle_timeout(Duration::ZERO))?;
        let pooled = connector(settings)?;
        let mut config = config;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?));
        let mut plain = quinn::Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        plain.set_default_client_config(config);
        Ok(Self {
            plain,
            plain_address,
            fresh,
            pooled,
            multipath: Endpoint::from(multipath),
        })
    }

    async fn connect(&self, kind: Kind) -> Result<quinn::Connection> {
        Ok(match kind {
            Kind::Plain => self.plain.connect(self.plain_address, "127.0.0.1")?.await?,
            Kind::Fresh => self.fresh.connect(&self.multipath).await?.into_inner(),
            Kind::Pooled => self.pooled.connect(&self.multipath).await?.into_inner(),
        })
    }

    /// Connects, sends a request and closes. Returns the time of the connect.
    async fn set_up(&self, kind: Kind) -> Result<f64> {
        let started = Instant::now();
        let connection = self.connect(kind).await?;
        let time = started.elapsed();
        let (send, receive) = connection.open_bi().await?;
        finish(started, tokio::io::join(receive, send)).await?;
        Ok(micros(time))
    }
}

impl Comparison<3> for Clients {
    const BENCHMARK: &'static str = "quic";

    const QUANTITIES: [Quantity; 3] = [
        Quantity {
            name: "setup of a QUIC connection",
            unit: "µs",
        },
        Quantity {
            name: "CPU of both ends per QUIC connection",
            unit: "µs",
        },
        Quantity {
            name: "throughput over QUIC",
            unit: "MiB/s",
        },
    ];

    fn subjects(&self) -> Vec<Subject<3>> {
        let multipath = |name, cpu| Subject {
            name,
            limits: [None, Some(Limit::RatioAtMost(cpu)), None],
        };
        vec![
            Subject {
                name: "plain QUIC",
                limits: [None; 3],
            },
            multipath("QUIC, fresh side connection", 1.30),
            multipath("QUIC, pooled side connection", 1.10),
        ]
    }
}

impl Subjects for Clients {
    type Sample = [f64; 3];

    async fn measure(&self, subject: usize) -> Result<[f64; 3]> {
        let kind = KINDS[subject];
        let cpu = meter::process();
        let mut times = Vec::with_capacity(BATCH as usize);
        for _ in 0..BATCH {
            times.push(self.set_up(kind).await?);
        }
        let cpu = cpu_each_since(cpu).await;
        let connection = self.connect(kind).await?;
        let (out, receive) = connection.open_bi().await?;
        let stream = tokio::io::join(receive, out);
        let time = send(stream, u64::from(MEGABYTES) << 20).await?;
        let throughput = f64::from(MEGABYTES) / time.as_secs_f64();
        Ok([Sorted::new(times).median(), cpu, throughput])
    }
}
