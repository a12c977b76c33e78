//! The clients: one of each kind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::{ClientSettings, MultipathConnector, Policy};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Kind;
use super::server::{CHUNK, HEAD};
use crate::bench::server::Addresses;
use crate::{Result, tls};

/// One client of each kind.
pub(super) struct Clients {
    addresses: Addresses,
    plain: TlsConnector,
    name: ServerName<'static>,
    fresh: MultipathConnector,
    pooled: MultipathConnector,
}

impl Clients {
    pub(super) fn new(pki: &Pki, addresses: Addresses) -> Result<Self> {
        let config = Arc::new(tls::client_config(&pki.ca)?);
        let settings = ClientSettings::new(Policy::Require).side(Path::system());
        let multipath = |settings| {
            MultipathConnector::builder(Arc::clone(&config), settings)
                .tickets(0)
                .build()
        };
        Ok(Self {
            addresses,
            fresh: multipath(settings.clone().side_idle_timeout(Duration::ZERO))?,
            pooled: multipath(settings)?,
            name: ServerName::from(addresses.plain.ip()),
            plain: TlsConnector::from(config),
        })
    }

    /// Connects, sends a request and closes. Returns the time of the connect.
    pub(super) async fn set_up(&self, kind: Kind) -> Result<Duration> {
        let started = Instant::now();
        match kind {
            Kind::Plain => {
                let stream = self.plain().await?;
                finish(started, stream).await
            }
            Kind::Fresh => {
                let stream = self.fresh.connect(&self.target()).await?;
                finish(started, stream).await
            }
            Kind::Pooled => {
                let stream = self.pooled.connect(&self.target()).await?;
                finish(started, stream).await
            }
        }
    }

    /// Sends so many bytes over one connection. Returns the time until the response.
    pub(super) async fn send(&self, kind: Kind, bytes: u64) -> Result<Duration> {
        match kind {
            Kind::Plain => send(self.plain().await?, bytes).await,
            Kind::Fresh => send(self.fresh.connect(&self.target()).await?, bytes).await,
            Kind::Pooled => send(self.pooled.connect(&self.target()).await?, bytes).await,
        }
    }

    async fn plain(&self) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.addresses.plain).await?;
        tcp.set_nodelay(true)?;
        Ok(self.plain.connect(self.name.clone(), tcp).await?)
    }

    fn target(&self) -> Endpoint {
        Endpoint::from(self.addresses.multipath)
    }
}

/// Sends a request. Returns the time before it.
pub(in crate::bench) async fn finish<S>(started: Instant, mut stream: S) -> Result<Duration>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let time = started.elapsed();
    request(&mut stream, 0).await?;
    Ok(time)
}

/// Sends so many bytes. Returns the time until the response.
pub(in crate::bench) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    bytes: u64,
) -> Result<Duration> {
    let started = Instant::now();
    request(&mut stream, bytes).await?;
    Ok(started.elapsed())
}

async fn request<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: u64) -> Result {
    let head = bytes.to_be_bytes();
    stream.write_all(&head).await?;
    let chunk = vec![0x5a; if bytes == 0 { 0 } else { CHUNK }];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(CHUNK as u64);
        stream.write_all(&chunk[..now as usize]).await?;
        left -= now;
    }
    stream.flush().await?;
    let mut response = [0; HEAD];
    stream.read_exact(&mut response).await?;
    match response == head {
        true => Ok(()),
        false => Err("the server sent another response than expected".into()),
    }
}
