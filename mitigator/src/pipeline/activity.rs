//! `Activity`: what every source did between two snapshots.

use std::time::Duration;

use mitigator_common::{Outcome, Signature, Source};

use super::rows::Rows;
use super::snapshot::OutcomeTotals;
use super::time::Timestamp;

/// What every source did between two snapshots.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Time of the later snapshot.
    pub at: Timestamp,
    /// Between the snapshots; never zero when there are rows.
    pub interval: Duration,
    /// Whether no time passed between the snapshots, so that every rate is a guess.
    pub is_clock_still: bool,
    /// Sources that sent something, or were sent something, each once, in the order of the data plane's
    /// table, newcomers last, or of the sources where it tells changes alone.
    pub rows: Rows,
    /// How many sources sent something, those included that were left out of `rows`.
    pub active_sources: usize,
    /// Packets per outcome in the interval.
    pub outcomes: OutcomeTotals,
    /// Packets that each limit dropped in the interval.
    pub limited: Vec<(Signature, u64)>,
    /// Whether the answers of this host are seen: where they are not, silence means nothing.
    pub hears_sent: bool,
}

impl Activity {
    /// Packets of `count` as a rate over the interval.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of packets in one interval is far below 2^52")]
    pub fn per_second(&self, count: u64) -> f64 {
        if self.interval.is_zero() { 0.0 } else { count as f64 / self.interval.as_secs_f64() }
    }

    /// The rows of those of `sources` that have one.
    #[must_use]
    pub fn rows_of(&self, sources: &[Source]) -> Vec<usize> {
        if sources.is_empty() {
            return Vec::new();
        }
        let rows = self.rows.sources().enumerate();
        rows.filter(|(_, source)| sources.contains(source)).map(|(index, _)| index).collect()
    }

    /// Packets that arrived in the interval.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.outcomes.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Packets dropped in the interval.
    #[must_use]
    pub fn dropped_packets(&self) -> u64 {
        let outcomes = Outcome::ALL.iter().zip(self.outcomes);
        let dropped = outcomes.filter(|(outcome, _)| outcome.is_drop());
        dropped.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}
