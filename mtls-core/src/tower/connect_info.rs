//! The connection that a request came over.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderValue};
use tokio::net::TcpStream;

use super::verdict_field::CachedField;
use crate::stream::{ServerStream, VerdictHandle};

/// The addresses and the verdict of a connection to a server. Clones are cheap.
///
/// In a handler of axum it is `ConnectInfo<MultipathConnectInfo>`. Other servers insert it into the
/// extensions of each request.
#[derive(Clone, Debug)]
pub struct MultipathConnectInfo(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    peer: SocketAddr,
    local: Option<SocketAddr>,
    verdict: VerdictHandle,
    field: CachedField,
}

impl MultipathConnectInfo {
    /// Describes a connection from `peer`.
    pub fn new<IO: 'static>(stream: &ServerStream<IO>, peer: SocketAddr) -> Self {
        let (io, _) = stream.get_ref().get_ref();
        let tcp = (io as &dyn Any).downcast_ref::<TcpStream>();
        let local = tcp.and_then(|tcp| tcp.local_addr().ok());
        Self::from_parts(stream.verdict_handle(), peer, local)
    }

    /// Describes a connection of any kind, such as one of QUIC, from `peer` to the address `local`.
    pub fn from_parts(verdict: VerdictHandle, peer: SocketAddr, local: Option<SocketAddr>) -> Self {
        Self(Arc::new(Inner {
            peer,
            local,
            verdict,
            field: CachedField::default(),
        }))
    }

    /// The address of the client.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// The server's own address. `None` if it is unknown: the stream is not a [`TcpStream`].
    pub fn local(&self) -> Option<SocketAddr> {
        self.0.local
    }

    /// The verdict, which may still improve while the connection is in use.
    pub fn verdict(&self) -> &VerdictHandle {
        &self.0.verdict
    }

    /// The value of [`VERDICT_FIELD`](super::VERDICT_FIELD) as of now. It is computed once per
    /// connection and change of the verdict.
    pub fn verdict_field(&self) -> HeaderValue {
        self.0.field.value(&self.0.verdict)
    }

    /// The connection that a request came over, from its extensions.
    pub fn from_extensions(extensions: &Extensions) -> Option<&Self> {
        extensions.get().or_else(|| wrapped(extensions))
    }
}

/// As axum inserts it.
#[cfg(feature = "axum")]
fn wrapped(extensions: &Extensions) -> Option<&MultipathConnectInfo> {
    use axum::extract::ConnectInfo;

    let info = extensions.get::<ConnectInfo<MultipathConnectInfo>>();
    info.map(|ConnectInfo(info)| info)
}

#[cfg(not(feature = "axum"))]
fn wrapped(_: &Extensions) -> Option<&MultipathConnectInfo> {
    None
}
