//! Data sets: labelled rows in CSV files, made ready for training.
//!
//! [`CsvRows`] reads a file, [`Source`] those of a directory, `split` draws the lines between training, validation and test.

mod csv_rows;
mod source;
mod split;

pub use csv_rows::{Counted, CsvRows};
pub use source::{Heading, Source};
pub use split::{Part, Shares, Split, SplitSettings, write_split};
