//! The simulated network behind the library's own traits.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mtls_core::Incoming;
use mtls_core::path::{Dial, DialError, DialFailure, Dialed, Endpoint, PathKind, RouteInfo};
use tokio::time::{Instant, sleep_until};
use turmoil::net::{TcpListener, TcpStream};

/// A path of the simulated network: whatever is dialled, the connection enters it at one host.
#[derive(Clone, Debug)]
pub struct SimPath {
    entrance: String,
    rtt: Duration,
    ready: Ready,
}

/// A connection that was made in advance.
type Ready = Arc<Mutex<Option<TcpStream>>>;

impl SimPath {
    /// A path that starts at the host `entrance` and has this round trip.
    pub(super) fn new(entrance: String, rtt: Duration) -> Self {
        let ready = Ready::default();
        Self {
            entrance,
            rtt,
            ready,
        }
    }

    pub(super) fn entrance(&self) -> &str {
        &self.entrance
    }

    /// Makes the next dial return at once, so that its first bytes are at the server half a round trip
    /// after it began, as with data in the SYN (TCP Fast Open).
    ///
    /// # Errors
    /// When the host does not listen.
    pub async fn fast_open(&self, port: u16) -> io::Result<()> {
        let stream = self.connect(port).await?;
        *lock(&self.ready) = Some(stream);
        Ok(())
    }
}

fn lock(ready: &Ready) -> MutexGuard<'_, Option<TcpStream>> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimPath {
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let connected = Instant::now() + self.rtt;
        let stream = TcpStream::connect((self.entrance.as_str(), port)).await?;
        // turmoil completes a connect when the SYN arrives: its answer has a way to go.
        assert!(
            Instant::now() <= connected,
            "the links are slower than the path"
        );
        sleep_until(connected).await;
        Ok(stream)
    }
}

impl Dial for SimPath {
    type Stream = TcpStream;

    fn dial(&self, to: &Endpoint) -> BoxFuture<'static, Result<Dialed<TcpStream>, DialError>> {
        let (path, to) = (self.clone(), to.clone());
        async move {
            let port = to.port;
            let failed = |error| {
                let reason = DialFailure::Other(Arc::new(error));
                DialError::new(PathKind::Direct, to, reason)
            };
            let ready = lock(&path.ready).take();
            let stream = match ready {
                Some(stream) => stream,
                None => path.connect(port).await.map_err(failed)?,
            };
            Ok(Dialed {
                local: stream.local_addr().ok(),
                peer: stream.peer_addr().ok(),
                stream,
                via: PathKind::Direct,
                resolver: None,
                route: RouteInfo::default().into(),
                mptcp: false,
            })
        }
        .boxed()
    }
}

/// A listener of the simulated network.
pub struct SimListener(TcpListener);

impl SimListener {
    /// Listens at the host that this is called on.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(port: u16) -> io::Result<Self> {
        TcpListener::bind(("0.0.0.0", port)).await.map(Self)
    }
}

impl Incoming for SimListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}
