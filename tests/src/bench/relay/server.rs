//! The server: TLS handshakes, and then bytes in the clear.

use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;

use mtls_certs::Pki;
use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::bench::connections::CHUNK;
use crate::bench::worker::{Worker, bind};
use crate::{Result, tls};

/// The server's first byte after TLS.
pub(super) const READY: u8 = b'R';

/// A request: one of these bytes, and a number of bytes.
pub(super) const DOWNLOAD: u8 = b'D';
pub(super) const ECHO: u8 = b'E';

/// Two listeners; they end when this is dropped.
pub(super) struct Server {
    addresses: Addresses,
    _worker: Worker,
}

/// The addresses of the listeners.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    /// tokio-rustls.
    pub(super) plain: SocketAddr,
    /// The same, verified.
    pub(super) multipath: SocketAddr,
}

impl Server {
    pub(super) fn start(pki: &Pki) -> Result<Self> {
        let config = Arc::new(tls::server_config(&pki.server, tls::provider())?);
        let acceptor = MultipathAcceptor::builder(Arc::clone(&config), Policy::Require).build()?;
        let (plain, multipath) = (bind()?, bind()?);
        let addresses = Addresses {
            plain: plain.local_addr()?,
            multipath: multipath.local_addr()?,
        };
        let worker = Worker::start("server", move || async move {
            tokio::select! {
                done = serve_plain(plain, config) => done,
                done = serve_multipath(multipath, acceptor) => done,
            }
        })?;
        Ok(Self {
            addresses,
            _worker: worker,
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }
}

async fn serve_plain(listener: StdTcpListener, config: Arc<ServerConfig>) -> Result {
    let listener = TcpListener::from_std(listener)?;
    let acceptor = TlsAcceptor::from(config);
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            respond(acceptor.accept(tcp).await?.into_inner().0).await
        });
    }
}

async fn serve_multipath(listener: StdTcpListener, acceptor: MultipathAcceptor) -> Result {
    let listener = TcpListener::from_std(listener)?;
    let mut listener = MultipathListener::new(acceptor, listener, ListenerLimits::default());
    loop {
        let (stream, _) = listener.accept().await;
        tokio::spawn(respond(stream.into_inner().into_inner().0));
    }
}

async fn respond(mut tcp: TcpStream) -> std::io::Result<()> {
    tcp.write_u8(READY).await?;
    while let Ok(wanted) = tcp.read_u8().await {
        let size = tcp.read_u64().await?;
        match wanted {
            DOWNLOAD => send(&mut tcp, size).await?,
            _ => echo(&mut tcp, size).await?,
        }
    }
    Ok(())
}

async fn send(tcp: &mut TcpStream, bytes: u64) -> std::io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(CHUNK as u64);
        tcp.write_all(&chunk[..now as usize]).await?;
        left -= now;
    }
    Ok(())
}

/// Echoes messages of this size until the client closes.
async fn echo(tcp: &mut TcpStream, size: u64) -> std::io::Result<()> {
    let mut message = vec![0; size.min(CHUNK as u64) as usize];
    while tcp.read_exact(&mut message).await.is_ok() {
        tcp.write_all(&message).await?;
    }
    Ok(())
}
