//! `Snapshot`: all counters at one instant.

use mitigator_common::{Outcome, Source, SourceCounters};

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
    /// Since the tables were made.
    pub outcomes: OutcomeTotals,
}
