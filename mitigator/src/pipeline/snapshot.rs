//! `Snapshot`: all counters at one instant.

use mitigator_common::{Limit, Outcome, Signature, Source, SourceCounters};

use super::time::Timestamp;

/// Packets per [`Outcome`], in the order of [`Outcome::ALL`].
pub type OutcomeTotals = [u64; Outcome::COUNT];

/// All counters at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When they were read.
    pub at: Timestamp,
    /// One row per source, each source once.
    pub rows: Vec<(Source, SourceCounters)>,
    /// Which sources have a row here.
    pub coverage: Coverage,
    /// Since the tables were made.
    pub outcomes: OutcomeTotals,
    /// Limits as they stand.
    pub limits: Vec<(Signature, Limit)>,
}

/// Which sources a snapshot has rows of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// All that are counted; who is missing was evicted.
    #[default]
    All,
    /// At least those that sent something since the snapshot before.
    Changed {
        /// Sources evicted since, which may have come back with a new row.
        gone: Vec<Source>,
    },
}
