//! The lingering close.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The longest time for a peer to send more after the last response, as in nginx.
pub const LINGER: Duration = Duration::from_secs(30);
/// The longest pause within [`LINGER`], as in nginx.
pub const LINGER_PAUSE: Duration = Duration::from_secs(5);
/// Bytes that are read at a time and dropped.
const DISCARD: usize = 16 * 1024;

/// Closes a stream without losing the last response (RFC 9112, section 9.6): sends everything, and
/// drops what the peer still sends, for [`LINGER`] at most and with pauses of [`LINGER_PAUSE`] at most.
///
/// Data that arrives at a closed socket makes the system reset the connection, and then the peer
/// may lose what it has not read yet.
pub async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let draining = async {
        stream.shutdown().await?;
        let mut discarded = vec![0; DISCARD];
        while let Ok(1..) = timeout(LINGER_PAUSE, stream.read(&mut discarded)).await? {}
        Ok::<(), io::Error>(())
    };
    // A peer that is gone, or goes on for too long, gets no more.
    let _ = timeout(LINGER, draining).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn everything_is_sent_and_a_peer_that_closes_ends_it_at_once() {
        let (mut near, mut far) = duplex(64);
        near.write_all(b"the response").await.expect("room");
        let lingering = tokio::spawn(linger(near));
        far.write_all(&[0; 1000]).await.expect("to be drained");
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.expect("to end");
        assert_eq!(received, b"the response");
        let before = Instant::now();
        drop(far);
        lingering.await.expect("to end");
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_goes_on_sending_is_cut_off() {
        let (near, mut far) = duplex(64);
        let before = Instant::now();
        let sending = tokio::spawn(async move {
            while far.write_all(b"more").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        linger(near).await;
        assert_eq!(before.elapsed(), LINGER);
        sending.await.expect("to end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_cut_off_sooner() {
        let (near, _far) = duplex(64);
        let before = Instant::now();
        linger(near).await;
        assert_eq!(before.elapsed(), LINGER_PAUSE);
    }
}
