//! Reports: text for people, JSON for machines. Knows how things look, not how they are found.

pub mod charts;
pub mod events;
pub mod explanation;
pub mod file;
pub mod output;
pub mod replayed;
pub mod units;
