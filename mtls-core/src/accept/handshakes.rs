//! The bound on handshakes under way. A client that sends a ClientHello and nothing more would keep its
//! slot for as long as a handshake may take, and few such clients would keep all slots.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::{Error, TimedOut};
use crate::sync::lock;

/// The time that each handshake has at least: more than two round trips of any network. After it the
/// handshake ends if another one needs its slot.
const GRACE: Duration = Duration::from_secs(2);

/// Slots for handshakes. More wait, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Handshakes {
    slots: Semaphore,
    max: usize,
    /// Handshakes without a slot yet.
    waiting: AtomicUsize,
    /// Those that wait for their client.
    unfinished: Mutex<Unfinished>,
}

/// Handshakes in the order in which they began.
#[derive(Debug, Default)]
struct Unfinished {
    by_age: BTreeMap<u64, (Instant, AbortHandle)>,
    next: u64,
}

/// A handshake that waits for its permit, counted.
pub(crate) struct Waiting<'a> {
    handshakes: &'a Handshakes,
    task: Option<AbortHandle>,
}

/// The slot of a handshake; released on drop.
pub(crate) struct HandshakePermit<'a> {
    handshakes: &'a Handshakes,
    id: Option<u64>,
    _slot: SemaphorePermit<'a>,
}

impl Handshakes {
    /// Zero counts as 1.
    pub(crate) fn new(max: usize) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            slots: Semaphore::new(max),
            max,
            waiting: AtomicUsize::new(0),
            unfinished: Mutex::default(),
        }
    }

    /// The number of handshakes, those that wait for a slot included.
    pub(crate) fn len(&self) -> usize {
        let waiting = self.waiting.load(Ordering::Acquire);
        waiting + self.max - self.slots.available_permits()
    }

    /// Counts a handshake, which ends when `task` is aborted.
    pub(crate) fn begin(&self, task: Option<AbortHandle>) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting {
            handshakes: self,
            task,
        }
    }

    async fn acquire(&self) -> SemaphorePermit<'_> {
        // One future for the whole wait: it keeps its turn.
        let mut slot = pin!(self.slots.acquire());
        loop {
            let again = self.end_oldest();
            tokio::select! {
                biased;
                Ok(slot) = &mut slot => return slot,
                () = sleep_until(again) => {}
            }
        }
    }

    /// Ends the oldest handshake if all slots are taken and its time is over. Returns the time at
    /// which to try again.
    fn end_oldest(&self) -> Instant {
        let now = Instant::now();
        let mut unfinished = self.lock();
        let oldest = unfinished.by_age.first_entry();
        match oldest.filter(|_| self.slots.available_permits() == 0) {
            Some(oldest) if oldest.get().0 + GRACE <= now => {
                tracing::debug!("a handshake ended, since others wait for its slot");
                // Under the lock: one that is complete has left the table, and is not ended.
                oldest.remove().1.abort();
                now + GRACE
            }
            Some(oldest) => oldest.get().0 + GRACE,
            None => now + GRACE,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Unfinished> {
        lock(&self.unfinished)
    }
}

impl<'a> Waiting<'a> {
    /// Waits for a slot.
    pub(crate) async fn acquire_permit(
        mut self,
        max_wait: Duration,
    ) -> Result<HandshakePermit<'a>, Error> {
        let handshakes = self.handshakes;
        let acquired = timeout(max_wait, handshakes.acquire()).await;
        let slot = acquired.map_err(|_| Error::TimedOut(TimedOut::Busy))?;
        let id = self.task.take().map(|task| handshakes.lock().insert(task));
        Ok(HandshakePermit {
            handshakes,
            id,
            _slot: slot,
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.handshakes.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Unfinished {
    fn insert(&mut self, task: AbortHandle) -> u64 {
        let id = self.next;
        self.next += 1;
        self.by_age.insert(id, (Instant::now(), task));
        id
    }
}

impl<'a> HandshakePermit<'a> {
    /// The handshake no longer waits for its client, so it keeps its slot as long as it needs it.
    pub(crate) fn complete(mut self) -> Self {
        self.leave();
        self
    }

    fn leave(&mut self) {
        if let Some(id) = self.id.take() {
            self.handshakes.lock().by_age.remove(&id);
        }
    }
}

impl Drop for HandshakePermit<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use tokio::task::JoinHandle;

    use super::*;

    const MAX_WAIT: Duration = Duration::from_secs(10);

    /// A handshake whose client sends nothing more.
    fn stalled(handshakes: &Arc<Handshakes>) -> JoinHandle<()> {
        let handshakes = Arc::clone(handshakes);
        let (send, task) = tokio::sync::oneshot::channel();
        let spawned = tokio::spawn(async move {
            let waiting = handshakes.begin(task.await.ok());
            let _permit = waiting.acquire_permit(MAX_WAIT).await.expect("a slot");
            pending::<()>().await;
        });
        send.send(spawned.abort_handle()).expect("a task");
        spawned
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_handshake_ends_for_one_that_waits_once_its_time_is_over() {
        let handshakes = Arc::new(Handshakes::new(2));
        let started = Instant::now();
        let (first, second) = (stalled(&handshakes), stalled(&handshakes));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let honest = handshakes.begin(None).acquire_permit(MAX_WAIT).await;
        assert!(honest.is_ok());
        assert_eq!(started.elapsed().as_secs(), GRACE.as_secs());
        assert!(first.await.expect_err("an abort").is_cancelled());
        assert!(!second.is_finished(), "one slot was needed");
        assert_eq!(handshakes.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_stalled_handshakes_delays_an_honest_one_by_their_number_only() {
        let handshakes = Arc::new(Handshakes::new(10));
        let started = Instant::now();
        let _flood: Vec<_> = (0..35).map(|_| stalled(&handshakes)).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let honest = handshakes.begin(None).acquire_permit(MAX_WAIT).await;
        assert!(honest.is_ok());
        assert_eq!(started.elapsed().as_secs(), 3 * GRACE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_does_not_end_while_no_other_one_needs_its_place() {
        let handshakes = Arc::new(Handshakes::new(2));
        let alone = stalled(&handshakes);
        tokio::time::sleep(2 * GRACE).await;
        let other = handshakes.begin(None).acquire_permit(MAX_WAIT).await;
        assert!(other.is_ok() && !alone.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_handshake_keeps_its_place() {
        let handshakes = Handshakes::new(1);
        let task = tokio::spawn(pending::<()>());
        let waiting = handshakes.begin(Some(task.abort_handle()));
        let permit = waiting.acquire_permit(MAX_WAIT).await.expect("a slot");
        let complete = permit.complete();
        let other = handshakes.begin(None).acquire_permit(MAX_WAIT).await;
        assert!(matches!(other, Err(Error::TimedOut(TimedOut::Busy))));
        assert!(!task.is_finished());
        drop(complete);
        assert_eq!(handshakes.len(), 0);
    }
}
