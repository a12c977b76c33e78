//! CPU time of threads and of this process.

use std::fs;
use std::time::Duration;

use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

use crate::Result;

/// A thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    process: u32,
    thread: i32,
}

impl Meter {
    /// The calling thread, to be read by another one.
    pub(crate) fn here() -> Self {
        Self {
            process: std::process::id(),
            thread: gettid().as_raw_nonzero().get(),
        }
    }

    /// The first thread of another process.
    pub(crate) fn of_process(process: u32) -> Option<Self> {
        let thread = i32::try_from(process).ok()?;
        Some(Self { process, thread })
    }

    /// The CPU time of the thread, exact while it sleeps (`sched(7)`, `/proc/…/schedstat`); `None`
    /// where `/proc` does not have it.
    pub(crate) fn read(self) -> Option<Duration> {
        let Self { process, thread } = self;
        let file = format!("/proc/{process}/task/{thread}/schedstat");
        let text = fs::read_to_string(file).ok()?;
        let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    }
}

/// The CPU time of the calling thread.
pub(crate) fn own() -> Duration {
    used(ClockId::ThreadCPUTime)
}

/// The CPU time of the whole process, in user space and in the kernel.
pub(crate) fn process() -> Duration {
    used(ClockId::ProcessCPUTime)
}

/// The CPU time of another process so far, in steps of 10 ms.
///
/// # Errors
/// No such process.
pub(crate) fn of_process(process: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may contain spaces; the fields after it do not.
    let (_, fields) = text.rsplit_once(')').ok_or("no name in stat")?;
    let mut ticks = fields.split_ascii_whitespace().skip(11);
    let mut next = || ticks.next().and_then(|ticks| ticks.parse::<u64>().ok());
    let (user, system) = next().zip(next()).ok_or("no times in stat")?;
    Ok(Duration::from_millis(10) * u32::try_from(user + system)?)
}

fn used(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// The CPU time of several threads.
pub(crate) fn sum(meters: &[Meter]) -> Option<Duration> {
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
            done.send(Meter::here()).expect("a waiting thread");
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
