//! The server's end, in a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use mtls_certs::Pki;
use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::Error;
use crate::tls;

/// The size of a request's head and of an answer, in bytes.
pub(super) const HEAD: usize = 8;
/// The size of the buffers for bulk data, in bytes.
pub(super) const CHUNK: usize = 64 * 1024;

/// Two listeners; they end when this is dropped.
pub(super) struct Server {
    addresses: Addresses,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Where the listeners are.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) plain: SocketAddr,
    pub(super) multipath: SocketAddr,
}

impl Server {
    pub(super) fn start(pki: &Pki) -> Result<Self, Error> {
        let config = Arc::new(tls::server_config(&pki.server, tls::provider())?);
        let acceptor = MultipathAcceptor::builder(Arc::clone(&config), Policy::Require).build()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let bind = || runtime.block_on(TcpListener::bind(("127.0.0.1", 0)));
        let (plain, multipath) = (bind()?, bind()?);
        let addresses = Addresses {
            plain: plain.local_addr()?,
            multipath: multipath.local_addr()?,
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("server".into())
            .spawn(move || {
                runtime.spawn(serve_plain(plain, config));
                runtime.spawn(serve_multipath(multipath, acceptor));
                // The sender is dropped.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(Self {
            addresses,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has shown itself at the clients.
            let _ = thread.join();
        }
    }
}

async fn serve_plain(listener: TcpListener, config: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(config);
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            continue;
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            answer(acceptor.accept(tcp).await?).await
        });
    }
}

async fn serve_multipath(listener: TcpListener, acceptor: MultipathAcceptor) {
    let mut listener = MultipathListener::new(acceptor, listener, ListenerLimits::default());
    loop {
        let (stream, _) = listener.accept().await;
        tokio::spawn(answer(stream));
    }
}

/// A request is a number of bytes, and these bytes; the answer is the number.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> std::io::Result<()> {
    let mut head = [0; HEAD];
    loop {
        if stream.read_exact(&mut head).await.is_err() {
            // The client is done.
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
