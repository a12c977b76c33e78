//! A server under `prefer`, clients of it, and a side path that holds or changes the Confirm.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mtls_certs::Pki;
use mtls_core::observer::{Event, Observer};
use mtls_core::path::{Endpoint, Path};
use mtls_core::proto::frame::{FrameBody, FrameReader};
use mtls_core::{
    ClientSettings, ClientStream, ListenerLimits, MultipathAcceptor, MultipathConnector,
    MultipathListener, Policy, ServerStream, SideServiceSettings,
};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::{TlsConnector, client};

/// More than a test takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) address: SocketAddr,
    pub(crate) listener: MultipathListener<TcpStream>,
    pub(crate) counted: Arc<Counted>,
}

/// The observed events, as text.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<Vec<String>>);

impl Counted {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Observer for Counted {
    fn observe(&self, event: &Event<'_>) {
        let word = match event {
            Event::Passed(verdict) => {
                let outcome = &verdict.outcome;
                outcome.reason().unwrap_or(outcome.as_str()).to_owned()
            }
            Event::Failed(error) => format!("failed: {error}"),
            _ => return,
        };
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        words.push(word);
    }
}

impl World {
    /// A server under `prefer` that waits this long for a Confirm.
    pub(crate) async fn new(deadline: Duration) -> Self {
        let pki = Pki::new(&["localhost", "127.0.0.1"]).expect("a pki");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = pki.client_config(Arc::clone(&provider)).expect("a client");
        let server = Arc::new(pki.server_config(provider).expect("a server"));
        let counted = Arc::new(Counted::default());
        let settings = SideServiceSettings::new(Policy::Prefer)
            .deadline(deadline)
            .observer(Arc::clone(&counted) as Arc<dyn Observer>);
        let acceptor = MultipathAcceptor::builder(server, settings)
            .build()
            .expect("an acceptor");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self {
            client: Arc::new(client),
            address: tcp.local_addr().expect("an address"),
            listener: MultipathListener::new(acceptor, tcp, ListenerLimits::default()),
            counted,
        }
    }

    /// A client whose side path is `side`.
    pub(crate) fn connector(&self, side: SocketAddr, policy: Policy) -> MultipathConnector {
        let settings = ClientSettings::new(policy)
            .side(Path::system())
            .side_endpoint(Endpoint::from(side))
            .deadline(LONG);
        MultipathConnector::builder(Arc::clone(&self.client), settings)
            .build()
            .expect("a connector")
    }

    /// A client's verified connection, whose side path is `side`, and the server's end of it.
    pub(crate) async fn verified(
        &mut self,
        side: SocketAddr,
    ) -> (ClientStream<TcpStream>, ServerStream<TcpStream>) {
        self.connect(side, Policy::Require).await
    }

    pub(crate) async fn connect(
        &mut self,
        side: SocketAddr,
        policy: Policy,
    ) -> (ClientStream<TcpStream>, ServerStream<TcpStream>) {
        let connector = self.connector(side, policy);
        let to = Endpoint::from(self.address);
        let (near, (far, _)) = tokio::join!(connector.connect(&to), self.listener.accept());
        (near.expect("a connection"), far)
    }

    /// A client's connection by tokio-rustls alone, and the server's end of it.
    pub(crate) async fn plain(
        &mut self,
    ) -> (client::TlsStream<TcpStream>, ServerStream<TcpStream>) {
        let connector = TlsConnector::from(Arc::clone(&self.client));
        let tcp = TcpStream::connect(self.address).await.expect("to connect");
        let name = "localhost".try_into().expect("a name");
        let (near, (far, _)) = tokio::join!(connector.connect(name, tcp), self.listener.accept());
        (near.expect("a connection"), far)
    }
}

/// The fate of the Confirms on a side path.
#[derive(Clone)]
pub(crate) enum Confirms {
    /// Each takes one permit.
    Held(Arc<Semaphore>),
    /// Their values are wrong.
    Wrong,
}

/// A side path to `to`.
pub(crate) async fn side_path(to: SocketAddr, confirms: Confirms) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.expect("to connect");
            tokio::spawn(relay(near, far, confirms.clone()));
        }
    });
    address
}

/// A client sends its Confirm after it has read the Proof, and so in a write of its own.
async fn relay(near: TcpStream, far: TcpStream, confirms: Confirms) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = near.into_split();
    let (mut from_server, mut to_server) = far.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut frames = FrameReader::new();
    let mut buffer = [0; 1024];
    loop {
        let read = from_client.read(&mut buffer).await?;
        if read == 0 {
            return to_server.shutdown().await;
        }
        let mut confirm = false;
        frames
            .read(&buffer[..read], |frame| {
                confirm |= matches!(frame.body, FrameBody::Confirm { .. });
            })
            .expect("frames");
        match &confirms {
            Confirms::Held(permits) if confirm => {
                permits.acquire().await.expect("a permit").forget();
            }
            Confirms::Wrong if confirm => buffer[read - 1] ^= 1,
            Confirms::Held(_) | Confirms::Wrong => {}
        }
        to_server.write_all(&buffer[..read]).await?;
    }
}
