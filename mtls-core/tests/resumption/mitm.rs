//! A man in the middle who terminates TLS, and reads along.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::world::{HOST, SECRET};

pub(crate) struct Mitm {
    pub(crate) address: SocketAddr,
    captured: Arc<Mutex<Vec<u8>>>,
}

impl Mitm {
    /// Takes its place in front of `server`, which it connects to as `client`.
    pub(crate) async fn start(
        identity: ServerConfig,
        client: ClientConfig,
        server: SocketAddr,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let captured = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, connector) = (
            TlsAcceptor::from(Arc::new(identity)),
            TlsConnector::from(Arc::new(client)),
        );
        let log = Arc::clone(&captured);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let relaying = relay(
                    acceptor.clone(),
                    connector.clone(),
                    tcp,
                    server,
                    log.clone(),
                );
                tokio::spawn(relaying);
            }
        });
        Self { address, captured }
    }

    /// Whether the victim's secret was captured; forgets it.
    pub(crate) fn take_secret(&self) -> bool {
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *captured) == SECRET
    }
}

async fn relay(
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    victim: TcpStream,
    server: SocketAddr,
    log: Arc<Mutex<Vec<u8>>>,
) -> std::io::Result<()> {
    let mut victim = acceptor.accept(victim).await?;
    let tcp = TcpStream::connect(server).await?;
    let mut server = connector
        .connect(HOST.try_into().expect("a name"), tcp)
        .await?;
    let (mut request, mut answer) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            read = victim.read(&mut request) => {
                let read = read?;
                log.lock().unwrap_or_else(PoisonError::into_inner).extend(&request[..read]);
                match read {
                    0 => return server.shutdown().await,
                    _ => server.write_all(&request[..read]).await?,
                }
                server.flush().await?;
            }
            read = server.read(&mut answer) => {
                match read? {
                    0 => return victim.shutdown().await,
                    read => victim.write_all(&answer[..read]).await?,
                }
                victim.flush().await?;
            }
        }
    }
}
