//! Quantiles, and confidence intervals of ratios of medians.

use serde::Serialize;

use crate::prng::Prng;

/// Number of resamplings for the interval of a ratio.
const RESAMPLES: usize = 400;

/// Sorted samples, none of them NaN.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sorted(Vec<f64>);

impl Sorted {
    /// Sorts the samples and drops those that are no number.
    #[must_use]
    pub fn new(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().filter(|s| !s.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self(sorted)
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that `part` (0 to 1) of the samples do not exceed; between two samples, on the
    /// line between them. NaN where there are no samples.
    #[must_use]
    pub fn quantile(&self, part: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else {
            return f64::NAN;
        };
        let place = last as f64 * part.clamp(0.0, 1.0);
        let (low, high) = (
            self.0[place.floor() as usize],
            self.0[place.ceil() as usize],
        );
        low + (high - low) * place.fract()
    }

    /// The middle one.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// As many samples, drawn with replacement; their median.
    fn drawn_median(&self, prng: &mut Prng, room: &mut Vec<f64>) -> f64 {
        let len = self.0.len();
        room.clear();
        room.extend((0..len).map(|_| self.0[prng.below(len)]));
        let (_, middle, _) = room.select_nth_unstable_by(len / 2, f64::total_cmp);
        *middle
    }
}

/// A ratio of two medians, and its 95 % confidence interval
/// (percentile bootstrap).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The ratio.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Ratio {
    /// Compares; the same seed draws the same samples. NaN where either side has no samples.
    #[must_use]
    pub fn of(own: &Sorted, base: &Sorted, seed: u64) -> Self {
        let value = own.median() / base.median();
        if own.is_empty() || base.is_empty() {
            return Self {
                value,
                low: f64::NAN,
                high: f64::NAN,
            };
        }
        let (mut prng, mut room) = (Prng::new(seed), Vec::new());
        let drawn = (0..RESAMPLES).map(|_| {
            let own = own.drawn_median(&mut prng, &mut room);
            own / base.drawn_median(&mut prng, &mut room)
        });
        let drawn = Sorted::new(drawn.collect::<Vec<_>>());
        Self {
            value,
            low: drawn.quantile(0.025),
            high: drawn.quantile(0.975),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_on_samples_or_on_the_line_between_two() {
        let sorted = Sorted::new([9.0, 1.0, 4.0, 2.0, f64::NAN]);
        assert_eq!(sorted.len(), 4);
        assert_eq!(sorted.median(), 3.0);
        assert_eq!(sorted.quantile(0.0), 1.0);
        assert_eq!(sorted.quantile(1.0), 9.0);
        assert_eq!(sorted.quantile(2.0), 9.0);
        let hundred = Sorted::new((0..=100).map(f64::from));
        assert_eq!(hundred.quantile(0.9), 90.0);
        assert_eq!(Sorted::new([5.0]).quantile(0.99), 5.0);
        assert!(Sorted::default().median().is_nan());
    }

    #[test]
    fn a_ratio_of_equal_samples_is_one_and_surely_so() {
        let same = Sorted::new([3.0; 50]);
        let ratio = Ratio::of(&same, &same, 1);
        assert_eq!((ratio.value, ratio.low, ratio.high), (1.0, 1.0, 1.0));
    }

    #[test]
    fn more_samples_make_a_ratio_surer() {
        let spread = |count: usize, seed: u64| {
            let mut prng = Prng::new(seed);
            let samples = (0..count).map(|_| 100.0 + prng.below(100) as f64);
            Sorted::new(samples.collect::<Vec<_>>())
        };
        let width = |count| {
            let ratio = Ratio::of(&spread(count, 1), &spread(count, 2), 3);
            assert!(
                ratio.low <= ratio.value && ratio.value <= ratio.high,
                "{ratio:?}"
            );
            ratio.high - ratio.low
        };
        let (few, many) = (width(30), width(3_000));
        assert!(many < few / 3.0, "{few} and {many}");
    }

    #[test]
    fn a_ratio_without_samples_is_no_number() {
        let none = Sorted::default();
        assert!(Ratio::of(&none, &none, 1).value.is_nan());
    }
}
