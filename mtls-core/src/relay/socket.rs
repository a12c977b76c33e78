//! What a relay does to a socket beside reading and writing.

use std::any::Any;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The TCP socket, where the stream is one.
pub(super) fn as_tcp<S: 'static>(stream: &S) -> Option<&TcpStream> {
    (stream as &dyn Any).downcast_ref()
}

/// Has the stream reset its connection when it is dropped, where it is TCP: the peer must not take
/// the end for an orderly one.
pub(super) fn abort<S: 'static>(stream: &S) {
    if let Some(tcp) = as_tcp(stream) {
        // A socket that is gone already has nothing to reset.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}
