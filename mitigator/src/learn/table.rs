//! A table of features: named columns of finite numbers, column after column, as boosting reads them.

use ndarray::{Array2, ShapeBuilder};

/// Rows are records, columns are features.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    names: Vec<String>,
    rows: usize,
    /// Shape (columns, rows): one column after the other.
    values: Vec<f64>,
}

impl Table {
    /// A table of `rows` rows from `values`, one column of `names` after the other.
    ///
    /// # Panics
    ///
    /// When there are not `rows` values for each name.
    #[must_use]
    pub fn new(names: Vec<String>, rows: usize, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), rows * names.len(), "a value for each row and name");
        Self { names, rows, values }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.names.len()
    }

    /// Names of the columns.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// All values, one column after the other.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values of a column, one for each row.
    #[must_use]
    pub fn column(&self, column: usize) -> &[f64] {
        &self.values[column * self.rows..(column + 1) * self.rows]
    }

    /// The value of a row in a column.
    #[must_use]
    pub fn value(&self, row: usize, column: usize) -> f64 {
        self.values[column * self.rows + row]
    }

    /// The rows with these numbers, in that order, as often as they are named.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let values = (0..self.columns())
            .flat_map(|column| {
                let column = self.column(column);
                rows.iter().map(|row| column[*row])
            })
            .collect();
        Self { names: self.names.clone(), rows: rows.len(), values }
    }

    /// Adds rows, each with a value for each column.
    ///
    /// # Panics
    ///
    /// When a row has another number of values.
    #[must_use]
    pub fn with_rows(&self, rows: &[Vec<f64>]) -> Self {
        assert!(rows.iter().all(|row| row.len() == self.columns()), "a value for each column");
        let values = (0..self.columns())
            .flat_map(|column| {
                let added = rows.iter().map(move |row| row[column]);
                self.column(column).iter().copied().chain(added)
            })
            .collect();
        Self { names: self.names.clone(), rows: self.rows + rows.len(), values }
    }

    /// The table as linfa reads it: shape (rows, columns).
    #[must_use]
    pub fn to_array(&self) -> Array2<f64> {
        Array2::from_shape_vec((self.rows, self.columns()).f(), self.values.clone())
            .expect("a value for each row and column")
            .as_standard_layout()
            .into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_repeated_and_added() {
        let table =
            Table::new(vec!["a".to_owned(), "b".to_owned()], 3, vec![1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
        let selected = table.select(&[2, 0, 2]);
        assert_eq!(selected.column(0), [3.0, 1.0, 3.0]);
        assert_eq!(selected.column(1), [30.0, 10.0, 30.0]);
        let longer = table.with_rows(&[vec![4.0, 40.0]]);
        assert_eq!((longer.rows(), longer.value(3, 0), longer.value(3, 1)), (4, 4.0, 40.0));
        let array = longer.to_array();
        assert_eq!((array[[0, 1]], array[[3, 0]]), (10.0, 4.0));
    }
}
