//! Operations of a relay on its sockets, besides reads and writes.

use std::any::Any;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The TCP socket, where the stream is one.
pub(super) fn as_tcp<S: 'static>(stream: &S) -> Option<&TcpStream> {
    (stream as &dyn Any).downcast_ref()
}

/// Completes when the peer has reset the connection, where that can be noticed: for one that has
/// closed its half, so that nothing is read any more. It has a descriptor of its own.
pub(super) fn reset<S: 'static>(stream: &S) -> Option<BoxFuture<'static, ()>> {
    let socket = SockRef::from(as_tcp(stream)?).try_clone().ok()?;
    let watched = TcpStream::from_std(socket.into()).ok()?;
    let noticed = async move {
        // It fails only when the runtime shuts down.
        let _ = watched.ready(Interest::ERROR).await;
    };
    Some(noticed.boxed())
}

/// Has the stream reset its connection when it is dropped, where it is TCP: the peer must not take
/// the end for an orderly one.
pub(super) fn abort<S: 'static>(stream: &S) {
    if let Some(tcp) = as_tcp(stream) {
        // A socket that is gone already has nothing to reset.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}
