//! What a classifier got right, and what it took for what.

use serde::Serialize;

/// How much of each class was taken for each class.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    /// Shape (true class, predicted class): sums of weights; without weights, numbers of records.
    counts: Vec<Vec<f64>>,
}

/// Figures of one class; each is 0..=1, or 0 where there is nothing to divide by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Share of its records that were taken for it.
    pub recall: f64,
    /// Share of what was taken for it that is it.
    pub precision: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Its records, or their weight.
    pub records: f64,
}

impl Confusion {
    /// An empty one.
    #[must_use]
    pub fn new(class_count: usize) -> Self {
        Self { counts: vec![vec![0.0; class_count]; class_count] }
    }

    /// Of classes and predictions, each record counting once.
    #[must_use]
    pub fn of(class_count: usize, classes: &[usize], predicted: &[usize]) -> Self {
        let mut confusion = Self::new(class_count);
        for (class, predicted) in classes.iter().zip(predicted) {
            confusion.add(*class, *predicted, 1.0);
        }
        confusion
    }

    /// Of counts that were made before. Shape (true class, predicted class).
    #[must_use]
    pub fn from_counts(counts: Vec<Vec<f64>>) -> Self {
        Self { counts }
    }

    /// Counts a record.
    pub fn add(&mut self, class: usize, predicted: usize, weight: f64) {
        self.counts[class][predicted] += weight;
    }

    /// Shape (true class, predicted class).
    #[must_use]
    pub fn counts(&self) -> &[Vec<f64>] {
        &self.counts
    }

    /// Share of records that were taken for what they are.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        share((0..self.counts.len()).map(|class| self.counts[class][class]).sum(), self.total())
    }

    /// Share of records that were not.
    #[must_use]
    pub fn zero_one_error(&self) -> f64 {
        1.0 - self.accuracy()
    }

    /// Share of records of which it was told rightly whether they are of the first class or not.
    #[must_use]
    pub fn binary_accuracy(&self) -> f64 {
        let attacks_found: f64 = self.counts[1..].iter().map(|row| row[1..].iter().sum::<f64>()).sum();
        share(self.counts[0][0] + attacks_found, self.total())
    }

    /// Figures of a class.
    #[must_use]
    pub fn class(&self, class: usize) -> ClassFigures {
        let right = self.counts[class][class];
        let records = self.counts[class].iter().sum();
        let predicted: f64 = self.counts.iter().map(|row| row[class]).sum();
        ClassFigures {
            recall: share(right, records),
            precision: share(right, predicted),
            f1: share(2.0 * right, records + predicted),
            records,
        }
    }

    /// Mean of the classes' F1, each counting alike.
    #[must_use]
    pub fn macro_f1(&self) -> f64 {
        let classes = 0..self.counts.len();
        let count = as_f64(classes.len());
        classes.map(|class| self.class(class).f1).sum::<f64>() / count
    }

    fn total(&self) -> f64 {
        self.counts.iter().flatten().sum()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of classes")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_counted_by_hand() {
        // Three classes: 4, 3 and 1 records.
        let confusion = Confusion::of(3, &[0, 0, 0, 0, 1, 1, 1, 2], &[0, 0, 0, 1, 1, 2, 0, 1]);
        let near =
            |value: f64, expected: f64| assert!((value - expected).abs() < 1e-12, "{value} {expected}");
        near(confusion.accuracy(), 4.0 / 8.0);
        near(confusion.zero_one_error(), 4.0 / 8.0);
        near(confusion.binary_accuracy(), 6.0 / 8.0);
        near(confusion.class(0).recall, 3.0 / 4.0);
        near(confusion.class(0).precision, 3.0 / 4.0);
        near(confusion.class(1).recall, 1.0 / 3.0);
        near(confusion.class(1).precision, 1.0 / 3.0);
        near(confusion.macro_f1(), (0.75 + 1.0 / 3.0 + 0.0) / 3.0);
        assert_eq!(confusion.counts()[1], [1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_class_that_is_missing_divides_by_nothing() {
        let confusion = Confusion::of(2, &[0], &[0]);
        assert_eq!(confusion.class(1).recall + confusion.class(1).precision + confusion.class(1).f1, 0.0);
    }
}
