//! The clients: one of each series.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::relay::ClientRelay;
use mtls_core::smkex::SmkexClient;
use mtls_core::{ClientSettings, MultipathConnector, Policy};
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
    /// The listen address of the client's relay.
    relay: SocketAddr,
}

impl Clients {
    pub(super) fn new(
        pki: &Pki,
        addresses: Addresses,
        side: &Path,
        relay: SocketAddr,
    ) -> Result<Self> {
        let config = Arc::new(tls::client_config(&pki.ca)?);
        let settings = |side: Path, idle| {
            ClientSettings::new(Policy::Require)
                .side(side)
                .side_idle_timeout(idle)
                .deadline(DEADLINE)
                .handshake_timeout(DEADLINE)
        };
        let multipath = |side, idle| {
            MultipathConnector::builder(Arc::clone(&config), settings(side, idle))
                .tickets(0)
                .build()
        };
        let smkex = |idle| {
            let client = SmkexClient::new(tls::provider());
            client.connector(settings(side.clone(), idle))?.build()
        };
        Ok(Self {
            name: ServerName::from(addresses.tls.ip()),
            addresses,
            raw_key: TlsConnector::from(Arc::new(raw_keys::client_config(
                aws_lc_rs::default_provider(),
            )?)),
            smkex: [smkex(Duration::ZERO)?, smkex(POOLED)?],
            fresh: multipath(side.clone(), Duration::ZERO)?,
            fast_open: multipath(side.clone().fast_open(true), Duration::ZERO)?,
            pooled: multipath(side.clone(), POOLED)?,
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
        } = self.addresses;
        let [smkex_fresh, smkex_pooled] = &self.smkex;
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
        }
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

/// Starts the relay in front of a client, which relays to `target`.
pub(super) async fn start_relay(
    network: &Network,
    target: SocketAddr,
) -> Result<Running<SocketAddr>> {
    let side = network.side()?;
    Running::start(network, End::Client, move || async move {
        let settings = ClientSettings::new(Policy::Require)
            .side(side)
            .side_idle_timeout(POOLED)
            .deadline(DEADLINE)
            .handshake_timeout(DEADLINE);
        let relay = ClientRelay::builder(&tls::provider(), settings).build()?;
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

async fn finish<S>(started: Instant, mut stream: S) -> Result<Duration>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let time = started.elapsed();
    request(&mut stream).await?;
    Ok(time)
}
