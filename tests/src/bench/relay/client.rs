//! The clients: one for each kind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::{ClientSettings, MultipathConnector, Policy};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Kind;
use super::middle::Middles;
use super::server::{DOWNLOAD, ECHO, READY};
use crate::bench::connections::CHUNK;
use crate::{Result, tls};

/// The size of a message in both directions.
const MESSAGE: usize = 1024;

/// One client for each kind.
pub(super) struct Clients {
    plain: TlsConnector,
    verified: MultipathConnector,
    name: ServerName<'static>,
    addresses: Vec<(Kind, SocketAddr)>,
}

impl Clients {
    pub(super) fn new(pki: &Pki, middles: &Middles) -> Result<Self> {
        let config = Arc::new(tls::client_config(&pki.ca)?);
        let settings = ClientSettings::new(Policy::Require).side(Path::system());
        let verified = MultipathConnector::builder(Arc::clone(&config), settings)
            .tickets(0)
            .build()?;
        let addresses: Vec<_> = middles.all().map(|m| (m.kind, m.address)).collect();
        let ip = addresses.first().ok_or("nothing to measure")?.1.ip();
        Ok(Self {
            plain: TlsConnector::from(config),
            verified,
            name: ServerName::from(ip),
            addresses,
        })
    }

    /// Connects, and continues without TLS. Returns the time of the handshake.
    pub(super) async fn set_up(&self, kind: Kind) -> Result<(TcpStream, Duration)> {
        let (_, address) = self
            .addresses
            .iter()
            .find(|(is, _)| *is == kind)
            .ok_or("this kind is not available")?;
        let started = Instant::now();
        let tls = match kind {
            Kind::PassthroughVerified => {
                let stream = self.verified.connect(&Endpoint::from(*address)).await?;
                stream.into_inner()
            }
            _ => {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                self.plain.connect(self.name.clone(), tcp).await?
            }
        };
        let time = started.elapsed();
        let (mut tcp, _) = tls.into_inner();
        match tcp.read_u8().await? {
            READY => Ok((tcp, time)),
            _ => Err("the server sent TLS after its handshake".into()),
        }
    }

    /// Downloads so many bytes. Returns the time.
    pub(super) async fn download(&self, kind: Kind, bytes: u64) -> Result<Duration> {
        let (mut tcp, _) = self.set_up(kind).await?;
        let mut chunk = vec![0; CHUNK];
        let started = Instant::now();
        tcp.write_all(&request(DOWNLOAD, bytes)).await?;
        let mut left = bytes;
        while left > 0 {
            match tcp.read(&mut chunk).await? {
                0 => return Err("the download ended early".into()),
                read => left = left.saturating_sub(read as u64),
            }
        }
        Ok(started.elapsed())
    }

    /// Sends so many messages one after the other, each echoed by the server. Returns the time.
    pub(super) async fn echo(&self, kind: Kind, times: u32) -> Result<Duration> {
        let (mut tcp, _) = self.set_up(kind).await?;
        let mut message = vec![0x5a; MESSAGE];
        tcp.write_all(&request(ECHO, MESSAGE as u64)).await?;
        let started = Instant::now();
        for _ in 0..times {
            tcp.write_all(&message).await?;
            tcp.read_exact(&mut message).await?;
        }
        Ok(started.elapsed())
    }
}

fn request(what: u8, bytes: u64) -> Vec<u8> {
    let mut request = vec![what];
    request.extend(bytes.to_be_bytes());
    request
}
