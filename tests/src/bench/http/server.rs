//! Both servers, in a thread of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mtls_certs::Pki;
use mtls_core::Policy;
use mtls_server::{Files, FilesOptions, HttpLimits, Identity, Server, ServerOptions, Site};
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tower_http::services::ServeDir;

use super::Error;
use crate::tls;

/// Two servers; they end when this is dropped.
pub(super) struct Servers {
    addresses: [SocketAddr; 2],
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _dir: TempDir,
}

impl Servers {
    pub(super) fn start(pki: &Pki, file_size: usize) -> Result<Self, Error> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("file.bin"), vec![0x5a; file_size])?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let identity = Identity::new(pki.server.chain_der(), pki.server.key_der())?;
        let mut options = ServerOptions::new(identity, Policy::Prefer);
        options.listen = vec![([127, 0, 0, 1], 0).into()];
        let small = Router::new().route("/small", get(async || "hello"));
        let files = Files::new(dir.path(), FilesOptions::default())?;
        let router = small.clone().fallback_service(files);
        let site = Site::new(router, &HttpLimits::default());
        let multipath = runtime.block_on(Server::bind(options, site))?;
        let plain = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let addresses = [plain.local_addr()?, multipath.local_addr()];
        let mut config = tls::server_config(&pki.server, tls::provider())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let router = small.fallback_service(ServeDir::new(dir.path()));
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            tokio::select! {
                () = serve_plain(plain, config, router) => {}
                _ = multipath.run(std::future::pending()) => {}
                _ = stopped => {}
            }
        };
        let thread = std::thread::Builder::new()
            .name("servers".into())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Self {
            addresses,
            stop: Some(stop),
            thread: Some(thread),
            _dir: dir,
        })
    }

    /// The plain one first.
    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        self.addresses
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of a server has shown itself at the client.
            let _ = thread.join();
        }
    }
}

/// As in axum's own example of a server on tokio-rustls.
async fn serve_plain(listener: TcpListener, config: ServerConfig, router: Router) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            let tls = acceptor.accept(tcp).await?;
            let service = TowerToHyperService::new(router);
            auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(tls), service)
                .await
        });
    }
}
