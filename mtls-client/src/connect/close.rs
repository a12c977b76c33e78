//! The close of a connection.

use std::time::Duration;

use mtls_core::http_io::linger;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The time that the peer has to read the last bytes and to close its end.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Ends the sending half, and does not wait for the peer.
pub(crate) async fn shutdown(mut stream: impl AsyncWrite + Unpin) {
    let _ = timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
}

/// Ends the sending half, and discards what the peer still sends until it closes. Unread data would
/// make the system reset the connection, and the peer could lose the last bytes.
pub(crate) async fn close(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let _ = timeout(CLOSE_TIMEOUT, linger(stream)).await;
}
