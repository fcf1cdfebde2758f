//! Data sets: labelled rows in CSV files, made ready for training.
//!
//! [`Source`] reads the files, `split` draws the lines between training, validation and test.

mod source;
mod split;

pub use source::{Heading, Source};
pub use split::{Part, Shares, Split, SplitSettings, write_split};
