//! `Summary`: how many numbers there were, how large, and how far apart; exact, whatever their order.

/// What is known of some whole numbers without keeping them.
///
/// Sums are exact, so that nothing is lost to rounding and two summaries can be added. Squares have room for 10^10
/// numbers up to 10^14, a day in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub total: u64,
    squares: u128,
    /// The least of them, 0 when there is none.
    pub min: u64,
    /// The greatest of them, 0 when there is none.
    pub max: u64,
}

impl Summary {
    /// Takes one in.
    pub fn add(&mut self, number: u64) {
        self.min = if self.count == 0 { number } else { self.min.min(number) };
        self.max = self.max.max(number);
        self.count += 1;
        self.total = self.total.saturating_add(number);
        self.squares = self.squares.saturating_add(u128::from(number) * u128::from(number));
    }

    /// Of the numbers of both.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let min = match (self.count, other.count) {
            (0, _) => other.min,
            (_, 0) => self.min,
            _ => self.min.min(other.min),
        };
        Self {
            count: self.count + other.count,
            total: self.total.saturating_add(other.total),
            squares: self.squares.saturating_add(other.squares),
            min,
            max: self.max.max(other.max),
        }
    }

    /// Their mean, 0 when there is none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sums below 2^53 are exact, others rounded once")]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.total as f64 / self.count as f64 }
    }

    /// The sample variance, that is over `count - 1`; 0 when there are fewer than two.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "rounded once, after all sums")]
    pub fn variance(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let count = u128::from(self.count);
        let total = u128::from(self.total);
        // No less than 0, by Cauchy and Schwarz, unless a sum is saturated.
        let apart = count.saturating_mul(self.squares).saturating_sub(total.saturating_mul(total));
        apart as f64 / (count * (count - 1)) as f64
    }

    /// The square root of the variance.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.variance().sqrt()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: &[u64]) -> Summary {
        let mut summary = Summary::default();
        numbers.iter().for_each(|number| summary.add(*number));
        summary
    }

    #[test]
    fn few_numbers_have_the_values_that_are_worked_out_by_hand() {
        for (numbers, mean, variance, min, max) in [
            (&[][..], 0.0, 0.0, 0, 0),
            (&[7], 7.0, 0.0, 7, 7),
            (&[0, 0], 0.0, 0.0, 0, 0),
            (&[2, 4], 3.0, 2.0, 2, 4),
            // Deviations -29, -29, 29, 29: 4 * 841 / 3.
            (&[54, 54, 112, 112], 83.0, 3364.0 / 3.0, 54, 112),
        ] {
            let summary = of(numbers);
            assert_eq!(
                (summary.mean(), summary.variance(), summary.min, summary.max),
                (mean, variance, min, max),
                "{numbers:?}"
            );
        }
    }

    #[test]
    fn a_day_between_any_two_of_many_packets_is_no_overflow() {
        let day_ns = 86_400_000_000_000;
        let summary = Summary {
            count: 10_000_000_000,
            total: day_ns,
            squares: u128::from(day_ns) * u128::from(day_ns),
            min: 0,
            max: day_ns,
        };
        assert!(
            (summary.variance() / 746_496_000_000_000_000.0 - 1.0).abs() < 1e-9,
            "{}",
            summary.variance()
        );
    }

    proptest! {
        #[test]
        fn two_summaries_together_are_that_of_all(
            first in vec(0..u64::from(u32::MAX), 0..20),
            second in vec(0..u64::from(u32::MAX), 0..20),
        ) {
            prop_assert_eq!(of(&first).with(&of(&second)), of(&[first, second].concat()));
        }

        #[test]
        fn it_is_what_two_passes_find(numbers in vec(0..10_000_000_u32, 2..50)) {
            let count = numbers.len() as f64;
            let mean = numbers.iter().map(|number| f64::from(*number)).sum::<f64>() / count;
            let apart: f64 = numbers.iter().map(|number| (f64::from(*number) - mean).powi(2)).sum();
            let summary = of(&numbers.iter().map(|number| u64::from(*number)).collect::<Vec<_>>());
            prop_assert!((summary.mean() - mean).abs() <= 1e-9 * mean.max(1.0));
            prop_assert!((summary.variance() - apart / (count - 1.0)).abs() <= 1e-9 * apart.max(1.0));
        }
    }
}
