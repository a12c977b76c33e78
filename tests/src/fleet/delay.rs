//! A TCP relay on loopback that delays both directions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::Result;
use crate::tasks::Listening;

/// Chunks on their way in one direction; the sender waits beyond.
const MAX_CHUNKS: usize = 1_024;
const CHUNK: usize = 16 * 1024;

/// A relay in front of a server; it ends when this is dropped.
pub(crate) struct Delay {
    listening: Listening,
    micros: Arc<AtomicU64>,
}

impl Delay {
    /// Listens on a port of its own, without a delay at first.
    pub(crate) async fn start(server: SocketAddr) -> Result<Self> {
        let micros = Arc::new(AtomicU64::new(0));
        let delay = Arc::clone(&micros);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = Listening::start(any, move |near, _| {
            let delay = Arc::clone(&delay);
            async move {
                let Ok(far) = TcpStream::connect(server).await else {
                    return;
                };
                let _ = far.set_nodelay(true);
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                // The end of either direction ends the connection.
                tokio::select! {
                    () = relay(near_read, far_write, &delay) => {}
                    () = relay(far_read, near_write, &delay) => {}
                }
            }
        })
        .await?;
        Ok(Self { listening, micros })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// Delays each direction by this time from now on.
    pub(crate) fn set(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.micros.store(micros, Ordering::Relaxed);
    }
}

async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    micros: &AtomicU64,
) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(MAX_CHUNKS);
    let read = async move {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let due = Instant::now() + Duration::from_micros(micros.load(Ordering::Relaxed));
            if sender.send((due, chunk[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = chunks.recv().await {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_arrive_in_order_and_not_before_the_delay() -> Result {
        let echo = Listening::start(([127, 0, 0, 1], 0).into(), |stream, _| async move {
            let (mut read, mut write) = stream.into_split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await?;
        let delay = Delay::start(echo.address).await?;
        let round_trip = Duration::from_millis(20);
        delay.set(round_trip / 2);
        let mut stream = TcpStream::connect(delay.address()).await?;
        let started = Instant::now();
        for byte in 0..100 {
            stream.write_all(&[byte]).await?;
        }
        let mut echoed = [0; 100];
        stream.read_exact(&mut echoed).await?;
        assert!(started.elapsed() >= round_trip);
        assert!(echoed.iter().copied().eq(0..100));
        Ok(())
    }
}
