//! How much happened when: counts in steps of a tenth of a second since a common start.

use std::time::{Duration, Instant};

/// The width of one step.
pub const BIN: Duration = Duration::from_millis(100);

/// Counts per [`BIN`] since `origin`.
#[derive(Clone, Debug)]
pub struct Series {
    origin: Instant,
    counts: Vec<u64>,
}

impl Series {
    /// An empty series; all series of one run share `origin`, so that their steps coincide.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Self { origin, counts: Vec::new() }
    }

    /// Adds `count` to the step that `at` falls into; what lies before the origin belongs to the first.
    pub fn add(&mut self, at: Instant, count: u64) {
        let bin = bin_of(at.saturating_duration_since(self.origin));
        if self.counts.len() <= bin {
            self.counts.resize(bin + 1, 0);
        }
        self.counts[bin] += count;
    }

    /// The counts, from the origin on.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Adds another series of the same origin, step by step.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// The sum of all steps.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

fn bin_of(since_origin: Duration) -> usize {
    usize::try_from(since_origin.as_millis() / BIN.as_millis()).expect("runs last seconds, not aeons")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn counts_fall_into_their_tenth_of_a_second() {
        let origin = Instant::now();
        let mut series = Series::new(origin);
        for (after_ms, count) in [(0, 1), (99, 2), (100, 4), (350, 8)] {
            series.add(origin + Duration::from_millis(after_ms), count);
        }
        assert_eq!(series.counts(), [3, 4, 0, 8]);
        let mut sum = Series::new(origin);
        sum.merge(&series);
        sum.merge(&series);
        assert_eq!((sum.counts(), sum.total()), ([6, 8, 0, 16].as_slice(), 30));
    }
}
