//! Repeatable randomness, for shuffling and packet loss; not for secrets.

/// SplitMix64: the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// A generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.number()) * end as u128;
        (wide >> 64) as usize
    }

    /// True with this probability, from 0 (never) to 1 (always).
    pub fn chance(&mut self, part: f64) -> bool {
        // 53 bits are what a double takes without rounding.
        let drawn = (self.number() >> 11) as f64 / (1u64 << 53) as f64;
        drawn < part
    }

    /// Shuffles a slice; each order is equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, slice: &mut [T]) {
        for last in (1..slice.len()).rev() {
            let other = self.below(last + 1);
            slice.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_of_three_is_about_as_likely() {
        let mut prng = Prng::new(1);
        let mut seen = std::collections::HashMap::new();
        for _ in 0..6_000 {
            let mut order = [0, 1, 2];
            prng.shuffle(&mut order);
            *seen.entry(order).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|times| (850..1_150).contains(times)));
    }

    #[test]
    fn a_number_below_is_below() {
        let mut prng = Prng::new(2);
        assert_eq!(prng.below(0), 0);
        assert_eq!(prng.below(1), 0);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[prng.below(5)] = true);
        assert_eq!(seen, [true; 5]);
    }
}
