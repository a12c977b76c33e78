//! Processor time of the threads of each end.

use std::fs;
use std::time::Duration;

use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

/// A thread of this process; `None` where `/proc` says nothing of its threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter(i32);

impl Meter {
    /// Of the calling thread, to be read by another one.
    pub(super) fn here() -> Self {
        Self(gettid().as_raw_nonzero().get())
    }

    /// What the thread has used; exact while it sleeps (`sched(7)`, `/proc/…/schedstat`).
    pub(super) fn read(self) -> Option<Duration> {
        let file = format!("/proc/self/task/{}/schedstat", self.0);
        let text = fs::read_to_string(file).ok()?;
        let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    }
}

/// What the calling thread has used.
pub(super) fn own() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The sum of what several threads have used.
pub(super) fn sum(meters: &[Meter]) -> Option<Duration> {
    meters.iter().map(|meter| meter.read()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_uses_processor_time() {
        let (done, is_done) = std::sync::mpsc::channel();
        let (stop, stops) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let before = own();
            while own() - before < Duration::from_millis(20) {}
            done.send(Meter::here()).expect("somebody who waits");
            let _ = stops.recv();
        });
        let meter = is_done.recv().expect("a worker");
        if let Some(used) = meter.read() {
            assert!(used >= Duration::from_millis(10), "{used:?}");
        }
        drop(stop);
        worker.join().expect("a worker");
    }
}
