//! The middle of some samples, and how far they are apart.

use serde::Serialize;

/// Median, quartiles and the least of samples; each is one of them, and not a number when there is none.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quartiles {
    pub(crate) least: f64,
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
}

impl Quartiles {
    /// In any order.
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let last = samples.len().saturating_sub(1);
        let at = |place: usize| samples.get(place).copied().unwrap_or(f64::NAN);
        // Of few samples the quartiles are the outermost, so that noise is not made less than it is.
        Self { least: at(0), lower: at(last / 4), median: at(last / 2), upper: at(last - last / 4) }
    }

    /// Less by as much.
    pub(crate) fn minus(self, other: f64) -> Self {
        let Self { least, lower, median, upper } = self;
        Self { least: least - other, lower: lower - other, median: median - other, upper: upper - other }
    }

    /// The median, and the quartiles in brackets.
    pub(crate) fn text(&self, number: impl Fn(f64) -> String) -> String {
        format!("{} ({}–{})", number(self.median), number(self.lower), number(self.upper))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_one_of_the_samples() {
        let Quartiles { least, lower, median, upper } = Quartiles::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!([least, lower, median, upper], [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(Quartiles::of(vec![2.0, 1.0]).minus(1.0).text(|number| format!("{number:.0}")), "0 (0–1)");
        assert!(Quartiles::of(Vec::new()).median.is_nan());
    }
}
