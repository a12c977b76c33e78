//! The simulated network behind the library's own traits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
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
}

impl SimPath {
    /// A path that starts at the host `entrance` and has this round trip.
    pub(super) fn new(entrance: String, rtt: Duration) -> Self {
        Self { entrance, rtt }
    }
}

impl Dial for SimPath {
    type Stream = TcpStream;

    fn dial(&self, to: &Endpoint) -> BoxFuture<'static, Result<Dialed<TcpStream>, DialError>> {
        let Self { entrance, rtt } = self.clone();
        let to = to.clone();
        async move {
            let connected = Instant::now() + rtt;
            let port = to.port;
            let failed = |error| {
                let reason = DialFailure::Other(Arc::new(error));
                DialError::new(PathKind::Direct, to, reason)
            };
            let stream = TcpStream::connect((entrance, port)).await.map_err(failed)?;
            // turmoil completes a connect when the SYN arrives: its answer has a way to go.
            assert!(
                Instant::now() <= connected,
                "the links are slower than the path"
            );
            sleep_until(connected).await;
            Ok(Dialed {
                local: stream.local_addr().ok(),
                peer: stream.peer_addr().ok(),
                stream,
                via: PathKind::Direct,
                resolver: None,
                route: RouteInfo::default().into(),
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
