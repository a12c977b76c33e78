//! The method of all benchmarks: rounds in which every subject is measured once, in random order.
//!
//! Other load on the machine then affects all subjects alike, and no subject always follows the
//! same one.

use std::future::Future;

use crate::Result;
use crate::prng::Prng;
use crate::progress::Progress;

/// How often to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    /// Rounds whose samples are dropped: afterwards code and caches are warm, and pooled
    /// connections are open.
    pub(crate) warm_up: u32,
    /// Rounds that count.
    pub(crate) counted: u32,
}

/// A set of subjects that are compared with each other.
pub(crate) trait Subjects: Sync {
    /// The result of one measurement.
    type Sample: Send;

    /// Measures one subject, by its index.
    fn measure(&self, subject: usize) -> impl Future<Output = Result<Self::Sample>> + Send;
}

/// One measurement that counts.
#[derive(Clone, Debug)]
pub(crate) struct Measured<T> {
    /// The round, from 0.
    pub(crate) round: u32,
    /// Its position in the round, from 0.
    pub(crate) turn: usize,
    /// The index of the subject.
    pub(crate) subject: usize,
    pub(crate) sample: T,
}

impl Rounds {
    /// Number of measurements of so many subjects, for a [`Progress`].
    pub(crate) fn measurements(&self, subjects: usize) -> u64 {
        u64::from(self.warm_up + self.counted) * subjects as u64
    }

    /// Measures the subjects with these indices in every round.
    ///
    /// # Errors
    /// The first error of a measurement.
    pub(crate) async fn run<S: Subjects>(
        self,
        subjects: &S,
        indices: &[usize],
        prng: &mut Prng,
        progress: &Progress,
    ) -> Result<Vec<Measured<S::Sample>>> {
        let mut order = indices.to_vec();
        let mut measured = Vec::with_capacity(self.counted as usize * order.len());
        for round in 0..self.warm_up + self.counted {
            prng.shuffle(&mut order);
            for (turn, &subject) in order.iter().enumerate() {
                let sample = subjects.measure(subject).await?;
                if let Some(round) = round.checked_sub(self.warm_up) {
                    measured.push(Measured {
                        round,
                        turn,
                        subject,
                        sample,
                    });
                }
                progress.step();
            }
        }
        Ok(measured)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Counts the measurements of each subject.
    struct Counts([AtomicU32; 3]);

    impl Subjects for Counts {
        type Sample = u32;

        async fn measure(&self, subject: usize) -> Result<u32> {
            Ok(self.0[subject].fetch_add(1, Ordering::Relaxed))
        }
    }

    #[tokio::test]
    async fn every_round_measures_each_subject_once_in_an_order_that_changes() -> Result {
        let rounds = Rounds {
            warm_up: 2,
            counted: 30,
        };
        let progress = Progress::new("test", rounds.measurements(3));
        let subjects = Counts(Default::default());
        let measured = rounds
            .run(&subjects, &[0, 1, 2], &mut Prng::new(1), &progress)
            .await?;
        assert_eq!(measured.len(), 90);
        let mut orders = std::collections::HashSet::new();
        for (number, round) in (0..).zip(measured.chunks(3)) {
            let mut order: Vec<_> = round.iter().map(|one| one.subject).collect();
            orders.insert(order.clone());
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2]);
            // The two before were the warm-up.
            assert!(
                round
                    .iter()
                    .all(|one| (one.round, one.sample) == (number, number + 2))
            );
            assert!(round.iter().map(|one| one.turn).eq(0..3));
        }
        assert_eq!(orders.len(), 6, "every order of three occurs");
        Ok(())
    }
}
