//! The clients: one of each series.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path, SubflowSource};
use mtls_core::quic::QuicConnector;
use mtls_core::relay::ClientRelay;
use mtls_core::smkex::SmkexClient;
use mtls_core::{ClientSettings, Method, MultipathConnector, Policy};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::echo::{request, request_noise};
use super::network::{End, Network};
use super::noise::NoiseStream;
use super::series::Series;
use super::server::{Addresses, Running};
use crate::link::logical::LogicalTime;
use crate::netns::INTERFACES;
use crate::quic::{ALPN, QuicStream, plain_client};
use crate::{Result, raw_keys, tls};

/// Longer than any round trip here, so that no verification times out.
const DEADLINE: Duration = Duration::from_secs(30);
/// Longer than any round of the measurement.
const POOLED: Duration = Duration::from_secs(3_600);

/// A client of each series. Its sockets are where it is used.
pub(super) struct Clients {
    addresses: Addresses,
    name: ServerName<'static>,
    tls: TlsConnector,
    raw_key: TlsConnector,
    smkex: [MultipathConnector; 2],
    fresh: MultipathConnector,
    fast_open: MultipathConnector,
    pooled: MultipathConnector,
    by_resumption: [MultipathConnector; 3],
    plain_quic: quinn::Endpoint,
    quic: [QuicConnector; 2],
    mptcp: Option<OverMptcp>,
    /// The listen address of the client's relay.
    relay: SocketAddr,
}

/// The clients of the series over Multipath TCP.
struct OverMptcp {
    smkex_inside: MultipathConnector,
    smkex_joined: MultipathConnector,
    inside: MultipathConnector,
}

impl Clients {
    pub(super) fn new(
        pki: &Pki,
        addresses: Addresses,
        network: &Network,
        relay: SocketAddr,
    ) -> Result<Self> {
        let side = &network.side()?;
        let config = Arc::new(tls::client_config(&pki.ca)?);
        let multipath = |side, idle| {
            MultipathConnector::builder(Arc::clone(&config), settings(side, idle))
                .tickets(0)
                .build()
        };
        let smkex = |idle| {
            let client = SmkexClient::new(tls::provider());
            client.connector(settings(side.clone(), idle))?.build()
        };
        let by_resumption = || {
            MultipathConnector::builder(Arc::clone(&config), settings(side.clone(), Duration::ZERO))
                .method(Method::Resumption)
        };
        let (fresh, pooled) = (
            multipath(side.clone(), Duration::ZERO)?,
            multipath(side.clone(), POOLED)?,
        );
        let quic = |connector| {
            let builder = QuicConnector::builder(connector).alpn(&[ALPN]);
            builder.tickets(0).build()
        };
        let mptcp = network.no_mptcp().is_none();
        Ok(Self {
            mptcp: mptcp.then(|| OverMptcp::new(&config)).transpose()?,
            quic: [quic(&fresh)?, quic(&pooled)?],
            plain_quic: plain_client((*config).clone())?,
            by_resumption: [
                by_resumption().build()?,
                by_resumption().build()?,
                by_resumption().inherit(POOLED).build()?,
            ],
            name: ServerName::from(addresses.tls.ip()),
            addresses,
            raw_key: TlsConnector::from(Arc::new(raw_keys::client_config(
                aws_lc_rs::default_provider(),
            )?)),
            smkex: [smkex(Duration::ZERO)?, smkex(POOLED)?],
            fresh,
            fast_open: multipath(side.clone().fast_open(true), Duration::ZERO)?,
            pooled,
            tls: TlsConnector::from(config),
            relay,
        })
    }

    /// Connects, sends a request, and closes. Returns the time until the application may send.
    pub(super) async fn set_up(&self, series: Series) -> Result<Duration> {
        let Addresses {
            tcp,
            noise,
            tls,
            raw_key,
            smkex,
            multipath,
            resuming,
            quic,
            ..
        } = self.addresses;
        let [quic_fresh, quic_pooled] = &self.quic;
        let [smkex_fresh, smkex_pooled] = &self.smkex;
        let [resumption, prefetched, inherited] = &self.by_resumption;
        let started = Instant::now();
        match series {
            Series::Tcp => finish(started, dial(tcp).await?).await,
            Series::NoiseNn => {
                let mut stream = NoiseStream::initiate(dial(noise).await?).await?;
                let time = started.elapsed();
                request_noise(&mut stream).await?;
                Ok(time)
            }
            Series::Tls => finish(started, self.tls(&self.tls, tls).await?).await,
            Series::RawKey => finish(started, self.tls(&self.raw_key, raw_key).await?).await,
            Series::Relays => finish(started, self.tls(&self.tls, self.relay).await?).await,
            Series::Smkex => verified(started, smkex_fresh, smkex).await,
            Series::SmkexPooled => verified(started, smkex_pooled, smkex).await,
            Series::Fresh => verified(started, &self.fresh, multipath).await,
            Series::FastOpen => verified(started, &self.fast_open, multipath).await,
            Series::Pooled => verified(started, &self.pooled, multipath).await,
            Series::Resumption => verified(started, resumption, resuming).await,
            Series::Prefetched => {
                prefetched.prefetch(&Endpoint::from(resuming)).await?;
                resumed(prefetched, resuming).await
            }
            Series::Inherited => resumed(inherited, resuming).await,
            Series::Quic => {
                let name = quic.ip().to_string();
                let connection = self.plain_quic.connect(quic, &name)?.await?;
                finish_quic(started, connection).await
            }
            Series::QuicFresh => verified_quic(started, quic_fresh, multipath).await,
            Series::QuicPooled => verified_quic(started, quic_pooled, multipath).await,
            Series::SmkexInside | Series::SmkexJoined | Series::Inside => {
                let (connector, to) = self.over_mptcp(series)?;
                verified(started, connector, to).await
            }
        }
    }

    /// The connector of a series over Multipath TCP, and its server.
    fn over_mptcp(&self, series: Series) -> Result<(&MultipathConnector, SocketAddr)> {
        let clients = self.mptcp.as_ref().ok_or("no Multipath TCP")?;
        let [smkex, multipath] = self.addresses.mptcp;
        match series {
            Series::SmkexInside => Ok((&clients.smkex_inside, smkex)),
            Series::SmkexJoined => Ok((&clients.smkex_joined, smkex)),
            Series::Inside => Ok((&clients.inside, multipath)),
            _ => Err("a series over TCP or QUIC".into()),
        }
    }

    /// [`set_up`](Self::set_up) of a series over Multipath TCP, in logical time.
    pub(super) async fn logical_time(
        &self,
        series: Series,
        time: &LogicalTime,
    ) -> Result<Duration> {
        let (connector, to) = self.over_mptcp(series)?;
        let mut stream = connector.connect(&Endpoint::from(to)).await?;
        let clock = time.client();
        request(&mut stream).await?;
        Ok(clock)
    }

    async fn tls(
        &self,
        connector: &TlsConnector,
        to: SocketAddr,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        let name = self.name.clone();
        Ok(connector.connect(name, dial(to).await?).await?)
    }
}

impl OverMptcp {
    fn new(config: &Arc<ClientConfig>) -> Result<Self> {
        let second = SubflowSource::Interface(INTERFACES[1].to_owned());
        let inside = settings(Path::subflow(second.clone())?, Duration::ZERO);
        let beside = Path::interface(INTERFACES[1])?.fast_open(true);
        let joined = settings(beside, Duration::ZERO).join(second);
        let over_mptcp = |settings: ClientSettings| settings.primary(Path::system().mptcp(true));
        let smkex = |settings| {
            let client = SmkexClient::new(tls::provider());
            client.connector(over_mptcp(settings))?.build()
        };
        Ok(Self {
            smkex_inside: smkex(inside.clone())?,
            smkex_joined: smkex(joined)?,
            inside: MultipathConnector::builder(Arc::clone(config), over_mptcp(inside))
                .tickets(0)
                .build()?,
        })
    }
}

/// Settings of a client whose side connections stay open for `idle`.
fn settings(side: Path, idle: Duration) -> ClientSettings {
    ClientSettings::new(Policy::Require)
        .side(side)
        .side_idle_timeout(idle)
        .deadline(DEADLINE)
        .handshake_timeout(DEADLINE)
}

/// Starts the relay in front of a client, which relays to `target`.
pub(super) async fn start_relay(
    network: &Network,
    target: SocketAddr,
) -> Result<Running<SocketAddr>> {
    let side = network.side()?;
    Running::start(network, End::Client, move || async move {
        let relay = ClientRelay::builder(&tls::provider(), settings(side, POOLED)).build()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok((address, async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                if client.set_nodelay(true).is_ok() {
                    let tunnel = relay.tunnel(Endpoint::from(target));
                    tokio::spawn(tunnel.run(client));
                }
            }
        }))
    })
    .await
}

async fn dial(to: SocketAddr) -> Result<TcpStream> {
    let tcp = TcpStream::connect(to).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn verified(
    started: Instant,
    connector: &MultipathConnector,
    to: SocketAddr,
) -> Result<Duration> {
    let stream = connector.connect(&Endpoint::from(to)).await?;
    let time = started.elapsed();
    if stream.verdict().verified().is_none() {
        return Err("a connection was not verified".into());
    }
    let mut stream = stream;
    request(&mut stream).await?;
    Ok(time)
}

/// [`verified`] over QUIC.
async fn verified_quic(
    started: Instant,
    connector: &QuicConnector,
    to: SocketAddr,
) -> Result<Duration> {
    let connection = connector.connect(&Endpoint::from(to)).await?;
    if connection.verdict().verified().is_none() {
        return Err("a connection was not verified".into());
    }
    finish_quic(started, connection.into_inner()).await
}

async fn finish_quic(started: Instant, connection: quinn::Connection) -> Result<Duration> {
    let time = started.elapsed();
    request(&mut QuicStream::open(connection).await?).await?;
    Ok(time)
}

/// A connection that resumes the session of an earlier one.
async fn resumed(connector: &MultipathConnector, to: SocketAddr) -> Result<Duration> {
    loop {
        let started = Instant::now();
        let stream = connector.connect(&Endpoint::from(to)).await?;
        let time = started.elapsed();
        // The first connection of the warm-up has no session yet.
        if stream.verdict().tls.handshake == Some("resumed") {
            return finish(started, stream).await.map(|_| time);
        }
        finish(started, stream).await?;
    }
}

async fn finish<S>(started: Instant, mut stream: S) -> Result<Duration>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let time = started.elapsed();
    request(&mut stream).await?;
    Ok(time)
}
