//! `FeatureTable`: the quantities of flows, whoever brings them and however their columns are called.

use anyhow::{Result, ensure};

use super::quantities::{self, Positions};
use crate::flows::Flow;

/// Quantities of flows, in the order of [`quantities::names`]; what is not a finite number is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureTable {
    /// Shape (rows, quantities), one row after the other; NaN is missing.
    values: Vec<f64>,
    rows: usize,
}

impl FeatureTable {
    /// Of rows under any of the spellings of [`crate::flows::features::Spelling`], in any order; other columns are passed
    /// over. In `rows`, what is NaN or infinite is missing, and a model takes the median of what it learned from instead.
    ///
    /// # Errors
    ///
    /// When columns are missing, by name, or there twice, or when a row has another number of cells.
    pub fn from_columns<N: AsRef<str>, R: AsRef<[f64]>>(
        names: &[N],
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Self> {
        let positions = Positions::find(names)?;
        let mut table = Self::default();
        for (number, row) in rows.into_iter().enumerate() {
            let row = row.as_ref();
            ensure!(
                row.len() == names.len(),
                "row {} has {} cells; there are {} columns",
                number + 1,
                row.len(),
                names.len()
            );
            table.push(positions.places().iter().map(|place| row[*place]));
        }
        Ok(table)
    }

    /// Adds a flow, which may not be over.
    pub fn push_flow(&mut self, flow: &Flow) {
        self.push(quantities::of(flow));
    }

    /// Adds a row.
    ///
    /// # Panics
    ///
    /// When there is not a value for each quantity.
    pub fn push(&mut self, quantities: impl IntoIterator<Item = f64>) {
        let before = self.values.len();
        let finite = |value: f64| if value.is_finite() { value } else { f64::NAN };
        self.values.extend(quantities.into_iter().map(finite));
        assert_eq!(self.values.len() - before, quantities::names().len(), "a value for each quantity");
        self.rows += 1;
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// A row: shape (quantities), NaN is missing.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f64] {
        let width = quantities::names().len();
        &self.values[row * width..(row + 1) * width]
    }

    /// Adds the rows of another one.
    pub fn append(&mut self, other: &Self) {
        self.values.extend_from_slice(&other.values);
        self.rows += other.rows;
    }

    /// The rows with these numbers, in that order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|row| self.row(*row).iter().copied()).collect();
        Self { values, rows: rows.len() }
    }

    /// The median of each quantity, of the rows that have it; 0 when none has. Shape (quantities).
    #[must_use]
    pub fn medians(&self) -> Vec<f64> {
        let median = |place: usize| {
            let values = (0..self.rows).map(|row| self.row(row)[place]).filter(|value| !value.is_nan());
            let mut values: Vec<f64> = values.collect();
            let middle = values.len() / 2;
            if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
        };
        (0..quantities::names().len()).map(median).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_in_any_order_and_what_is_no_number_is_missing() {
        let mut names: Vec<&str> = quantities::names().to_vec();
        names.reverse();
        names.push("Src IP");
        let last = names.len() - 2;
        let row = |first: f64, protocol: f64| {
            let mut row = vec![1.0; names.len()];
            (row[0], row[last]) = (first, protocol);
            row
        };
        let rows = [row(5.0, 6.0), row(f64::INFINITY, 17.0), row(7.0, f64::NAN), row(9.0, 6.0)];
        let table = FeatureTable::from_columns(&names, &rows).unwrap();
        assert_eq!((table.rows(), table.row(0)[0], table.row(1)[0]), (4, 6.0, 17.0));
        assert!(table.row(1)[last].is_nan() && table.row(2)[0].is_nan());
        let medians = table.medians();
        assert_eq!((medians[0], medians[last]), (6.0, 7.0));
        assert_eq!(table.select(&[3, 0]).row(0)[last], 9.0);
    }

    #[test]
    fn a_row_of_another_length_is_refused() {
        let error = FeatureTable::from_columns(quantities::names(), [vec![1.0; 3]]).unwrap_err();
        assert!(error.to_string().contains("row 1 has 3 cells; there are 77 columns"), "{error}");
    }
}
