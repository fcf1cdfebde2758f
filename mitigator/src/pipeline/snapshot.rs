//! `Snapshot`: counters at one instant.

use mitigator_common::{Limit, Outcome, Signature, Source, SourceCounters};

use super::time::Timestamp;

/// Packets per [`Outcome`], in the order of [`Outcome::ALL`].
pub type OutcomeTotals = [u64; Outcome::COUNT];

/// Counters at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When they were read.
    pub at: Timestamp,
    /// At least those that changed since the snapshot before, and those that were asked for; each source once.
    pub rows: Vec<(Source, SourceCounters)>,
    /// Where they stand.
    pub order: Order,
    /// Since the tables were made.
    pub outcomes: OutcomeTotals,
    /// Limits as they stand.
    pub limits: Vec<(Signature, Limit)>,
}

/// How rows of several snapshots are known to be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// By their sources, in whatever order they come.
    BySource {
        /// Sources evicted since the snapshot before, which may have come back with a new row.
        gone: Vec<Source>,
    },
    /// By their places in the data plane's table, in the order of which they come: one for each row. A source that comes
    /// with a place has it from whom it belonged to before.
    ByPlace(Vec<u32>),
}

impl Default for Order {
    fn default() -> Self {
        Self::BySource { gone: Vec::new() }
    }
}
