//! Hands connections that must not be reused to hyper-util's client, one after the other.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::connect::Connected;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::stream::{HandoverSlot, MultipathHttpsStream};
use crate::stream::ClientStream;
use crate::verdict::policy::Policy;

/// The longest time that one connection keeps the next waiting: a client that does not poll a request must
/// not stop the others.
const HANDOVER_TIMEOUT: Duration = Duration::from_millis(250);
/// The time for the pool to finish with the connection before.
const PAUSE: Duration = Duration::from_millis(1);

/// The slot of the one connection that is being handed over.
///
/// While hyper-util's pool takes an HTTP/2 connection in, it tells every other one to the same host
/// to give up and share that one. A poisoned one is not shared, so the others fail (`Canceled`).
/// This slot keeps them apart. It is left a moment after the connection's task first reads, when
/// the pool's part is all but done: hyper-util gives no later sign, so a thread that is stopped
/// just then can still lose the race. That costs a request an error, and never lets it share a
/// connection.
#[derive(Clone, Debug)]
pub(super) struct Handover {
    slot: Arc<Semaphore>,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            slot: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Handover {
    pub(super) async fn hand_over<T>(
        &self,
        stream: ClientStream<T>,
        policy: Policy,
        about: fn(&T) -> Connected,
    ) -> MultipathHttpsStream<T>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = MultipathHttpsStream::https(stream, policy, about);
        if stream.is_http2() && !stream.is_reusable() {
            stream.keep_until_read(self.acquire().await);
        }
        stream
    }

    /// Waits for the slot, and keeps it until what is returned is dropped, or for [`HANDOVER_TIMEOUT`].
    /// The pause is the holder's, so that a newcomer cannot slip in before it is over.
    async fn acquire(&self) -> HandoverSlot {
        let slot = Arc::clone(&self.slot).acquire_owned().await;
        let (held, released) = oneshot::channel();
        tokio::spawn(async move {
            let _ = timeout(HANDOVER_TIMEOUT, released).await;
            sleep(PAUSE).await;
            drop(slot);
        });
        HandoverSlot { _sender: held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn next_connection_waits_until_the_one_before_is_handed_over() {
        let handover = Handover::default();
        let first = handover.acquire().await;
        let second = handover.acquire();
        tokio::pin!(second);
        let early = timeout(HANDOVER_TIMEOUT / 2, &mut second).await;
        assert!(early.is_err(), "the slot is taken");
        drop(first);
        let before = Instant::now();
        second.await;
        assert_eq!(before.elapsed(), PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_is_never_read_keeps_the_next_waiting_for_a_bounded_time() {
        let handover = Handover::default();
        let before = Instant::now();
        let _first = handover.acquire().await;
        handover.acquire().await;
        assert_eq!(before.elapsed(), HANDOVER_TIMEOUT + PAUSE);
    }
}
