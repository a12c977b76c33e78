//! The time of each target's next check.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

/// The next checks, for a driver that makes them and reports their ends.
pub(super) struct Schedule {
    every: Duration,
    jobs: usize,
    /// Targets by their times: those that were reached the last time, and the others.
    waiting: [BinaryHeap<Reverse<(Instant, usize)>>; 2],
    running: [usize; 2],
}

/// The last check of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Reached = 0,
    Failing = 1,
}

/// A check to make now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) target: usize,
    reach: Reach,
}

impl Schedule {
    pub(super) fn new(every: Duration, jobs: usize) -> Self {
        Self {
            every,
            jobs,
            waiting: [BinaryHeap::new(), BinaryHeap::new()],
            running: [0; 2],
        }
    }

    /// Adds a target, or the next check of one.
    pub(super) fn add(&mut self, target: usize, reach: Reach, at: Instant) {
        self.waiting[reach as usize].push(Reverse((at, target)));
    }

    /// The next check that may start now. Targets that could not be reached wait for timeouts, so
    /// they occupy at most half of the jobs.
    pub(super) fn next(&mut self, now: Instant) -> Option<Job> {
        let (at, reach) = self.first()?;
        if at > now {
            return None;
        }
        let Reverse((_, target)) = self.waiting[reach as usize].pop()?;
        self.running[reach as usize] += 1;
        Some(Job { target, reach })
    }

    /// The time of the next check, if a job is free for it.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.first().map(|(at, _)| at)
    }

    fn first(&self) -> Option<(Instant, Reach)> {
        if self.running.iter().sum::<usize>() >= self.jobs {
            return None;
        }
        let at = |reach: Reach| {
            let Reverse((at, _)) = self.waiting[reach as usize].peek()?;
            Some((*at, reach))
        };
        let failing = at(Reach::Failing).filter(|_| self.running[1] < self.failing_jobs());
        let reached = at(Reach::Reached);
        reached.into_iter().chain(failing).min_by_key(|(at, _)| *at)
    }

    fn failing_jobs(&self) -> usize {
        (self.jobs / 2).max(1)
    }

    /// Ends a check that began at `began`, and adds the next one. `random` chooses the jitter.
    pub(super) fn end(&mut self, job: Job, reach: Reach, began: Instant, random: u16) {
        self.running[job.reach as usize] -= 1;
        let next = began + jittered(self.every, random);
        self.add(job.target, reach, next);
    }
}

/// The time within 10 % of `every` that `random` chooses.
fn jittered(every: Duration, random: u16) -> Duration {
    let share = f64::from(random) / f64::from(u16::MAX);
    every.mul_f64(0.9 + 0.2 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_at_most_ten_percent() {
        let every = Duration::from_secs(600);
        assert_eq!(jittered(every, 0), Duration::from_secs(540));
        assert_eq!(jittered(every, u16::MAX), Duration::from_secs(660));
    }

    #[test]
    fn targets_that_cannot_be_reached_leave_jobs_to_the_others() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Duration::from_secs(60), 4);
        for target in 0..10 {
            schedule.add(target, Reach::Failing, now - Duration::from_secs(100));
        }
        schedule.add(10, Reach::Reached, now);
        schedule.add(11, Reach::Reached, now);
        let started: Vec<_> = std::iter::from_fn(|| schedule.next(now)).collect();
        let targets: Vec<_> = started.iter().map(|job| job.target).collect();
        assert_eq!(targets, [0, 1, 10, 11]);
        schedule.end(started[2], Reach::Reached, now, 0);
        assert_eq!(
            schedule.next(now),
            None,
            "half of the jobs are for the others"
        );
        schedule.end(started[0], Reach::Failing, now, 0);
        assert_eq!(schedule.next(now).map(|job| job.target), Some(2));
    }

    #[test]
    fn the_next_check_begins_one_interval_after_the_last_one_began() {
        let now = Instant::now();
        let every = Duration::from_secs(60);
        let mut schedule = Schedule::new(every, 1);
        schedule.add(0, Reach::Reached, now);
        let job = schedule.next(now).expect("a job");
        assert_eq!(schedule.next_time(), None);
        schedule.end(job, Reach::Reached, now, u16::MAX / 2);
        let next = schedule.next_time().expect("a time") - now;
        assert!(next.abs_diff(every) < Duration::from_millis(1), "{next:?}");
        assert_eq!(schedule.next(now), None);
    }
}
