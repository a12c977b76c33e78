//! The UDP sockets of a connector: one for each family, shared by its connections.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use quinn::{ClientConfig, ConnectError, Connecting, EndpointConfig, TokioRuntime};

use super::error::not_begun;
use crate::error::Error;
use crate::path::{Endpoint, Path};
use crate::sync::lock;

/// The endpoints of one path.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    v4: Mutex<Option<quinn::Endpoint>>,
    v6: Mutex<Option<quinn::Endpoint>>,
}

impl Endpoints {
    /// Begins a connection to an address of `to`: its ClientHello is built, and leaves at once. Returns
    /// this end's port too.
    pub(super) fn connect(
        &self,
        path: &Path,
        (to, peer): (&Endpoint, SocketAddr),
        config: &ClientConfig,
        name: &str,
    ) -> Result<(Connecting, u16), Error> {
        let mut kept = self.of(peer);
        if let Some(endpoint) = &*kept {
            match endpoint.connect_with(config.clone(), peer, name) {
                // The runtime in which it was made has ended.
                Err(ConnectError::EndpointStopping) => {}
                begun => return Ok((begun.map_err(not_begun)?, port(endpoint)?)),
            }
        }
        let socket = path.udp_socket(to, peer);
        let socket = socket.map_err(Error::Dial)?;
        let settings = EndpointConfig::default();
        let endpoint = quinn::Endpoint::new(settings, None, socket, Arc::new(TokioRuntime))?;
        let begun = endpoint.connect_with(config.clone(), peer, name);
        let port = port(&endpoint)?;
        *kept = Some(endpoint);
        Ok((begun.map_err(not_begun)?, port))
    }

    /// Takes a new socket for the next connection to this family: the path may have changed.
    pub(super) fn forget(&self, peer: SocketAddr) {
        *self.of(peer) = None;
    }

    /// Waits until all connections are closed.
    pub(super) async fn wait_idle(&self) {
        let [v4, v6] = [&self.v4, &self.v6].map(|kept| lock(kept).clone());
        for endpoint in [v4, v6].into_iter().flatten() {
            endpoint.wait_idle().await;
        }
    }

    fn of(&self, peer: SocketAddr) -> MutexGuard<'_, Option<quinn::Endpoint>> {
        lock(match peer {
            SocketAddr::V4(_) => &self.v4,
            SocketAddr::V6(_) => &self.v6,
        })
    }
}

fn port(endpoint: &quinn::Endpoint) -> Result<u16, Error> {
    Ok(endpoint.local_addr()?.port())
}
