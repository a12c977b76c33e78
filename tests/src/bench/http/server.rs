//! Both servers, in one thread.

use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::{Arc, mpsc};

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
use tokio_rustls::TlsAcceptor;
use tower_http::services::ServeDir;

use crate::bench::worker::{Worker, bind};
use crate::{Result, tls};

/// Two servers; they end when this is dropped.
pub(in crate::bench) struct Servers {
    addresses: [SocketAddr; 2],
    _worker: Worker,
    _dir: TempDir,
}

impl Servers {
    pub(in crate::bench) fn start(pki: &Pki, file_size: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("file.bin"), vec![0x5a; file_size])?;
        let identity = Identity::new(pki.server.chain_der(), pki.server.key_der())?;
        let mut options = ServerOptions::new(identity, Policy::Prefer);
        options.listen = vec![([127, 0, 0, 1], 0).into()];
        let small = Router::new().route("/small", get(async || "hello"));
        let files = Files::new(dir.path(), FilesOptions::default())?;
        let site = Site::new(
            small.clone().fallback_service(files),
            &HttpLimits::default(),
        );
        let mut config = tls::server_config(&pki.server, tls::provider())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let router = small.fallback_service(ServeDir::new(dir.path()));
        let plain = bind()?;
        let plain_address = plain.local_addr()?;
        let (bound, address) = mpsc::channel();
        let worker = Worker::start("servers", move || async move {
            let multipath = Server::bind(options, site).await?;
            bound.send(multipath.local_addr())?;
            tokio::select! {
                done = serve_plain(plain, config, router) => done,
                _ = multipath.run(std::future::pending()) => Ok(()),
            }
        })?;
        Ok(Self {
            addresses: [plain_address, address.recv()?],
            _worker: worker,
            _dir: dir,
        })
    }

    /// The plain one first.
    pub(in crate::bench) fn addresses(&self) -> [SocketAddr; 2] {
        self.addresses
    }
}

/// As in axum's own example of a server on tokio-rustls.
async fn serve_plain(listener: StdTcpListener, config: ServerConfig, router: Router) -> Result {
    let listener = TcpListener::from_std(listener)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (tcp, _) = listener.accept().await?;
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
