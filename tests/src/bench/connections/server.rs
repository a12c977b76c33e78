//! The server, with a listener for plain and one for multipath TLS.

use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;

use mtls_certs::Pki;
use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::bench::worker::{Worker, bind};
use crate::{Result, tls};

/// The size of a request's head and of a response, in bytes.
pub(super) const HEAD: usize = 8;
/// The size of the buffers for bulk data, in bytes.
pub(in crate::bench) const CHUNK: usize = 64 * 1024;

/// Two listeners; they end when this is dropped.
pub(super) struct Server {
    addresses: Addresses,
    _worker: Worker,
}

/// The addresses of the listeners.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) plain: SocketAddr,
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
            respond(acceptor.accept(tcp).await?).await
        });
    }
}

async fn serve_multipath(listener: StdTcpListener, acceptor: MultipathAcceptor) -> Result {
    let listener = TcpListener::from_std(listener)?;
    let mut listener = MultipathListener::new(acceptor, listener, ListenerLimits::default());
    loop {
        let (stream, _) = listener.accept().await;
        tokio::spawn(respond(stream));
    }
}

/// A request is a number of bytes, and these bytes; the response is the number.
async fn respond<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> std::io::Result<()> {
    let mut head = [0; HEAD];
    loop {
        if stream.read_exact(&mut head).await.is_err() {
            // The client has closed.
            return Ok(());
        }
        let mut left = u64::from_be_bytes(head);
        let mut chunk = vec![0; if left == 0 { 0 } else { CHUNK }];
        while left > 0 {
            let read = stream.read(&mut chunk).await?;
            if read == 0 {
                return Ok(());
            }
            left = left.saturating_sub(read as u64);
        }
        stream.write_all(&head).await?;
        stream.flush().await?;
    }
}
