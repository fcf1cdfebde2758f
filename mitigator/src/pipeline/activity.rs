//! `Activity`: what every source did between two snapshots.

use std::time::Duration;

use mitigator_common::{Outcome, Source, SourceCounters};
use rustc_hash::FxHashMap;

use super::snapshot::{OutcomeTotals, Snapshot};
use super::time::Timestamp;

/// What one source did in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceActivity {
    /// Who.
    pub source: Source,
    /// Packets of each kind in the interval; times and ports as the later snapshot has them.
    pub change: SourceCounters,
    /// Since the source's first packet.
    pub age: Duration,
}

/// What every source did between two snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Time of the later snapshot.
    pub at: Timestamp,
    /// Between the snapshots; never zero when there are rows.
    pub interval: Duration,
    /// Whether no time passed between the snapshots, so that every rate is a guess.
    pub is_clock_still: bool,
    /// Sources that sent something, sorted by source.
    pub rows: Vec<SourceActivity>,
    /// Packets per outcome in the interval.
    pub outcomes: OutcomeTotals,
}

impl Activity {
    /// Packets of `count` as a rate over the interval.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of packets in one interval is far below 2^52")]
    pub fn per_second(&self, count: u64) -> f64 {
        if self.interval.is_zero() { 0.0 } else { count as f64 / self.interval.as_secs_f64() }
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

/// Remembers the last snapshot.
#[derive(Clone, Debug, Default)]
pub struct History {
    last: Option<Last>,
}

#[derive(Clone, Debug)]
struct Last {
    at: Timestamp,
    rows: FxHashMap<Source, SourceCounters>,
    outcomes: OutcomeTotals,
}

impl History {
    /// What happened since the snapshot before; the first snapshot gives an empty activity.
    ///
    /// A snapshot that is not later than the one before counts as taken `shortest` after it, which
    /// keeps rates finite when a capture's clock stands still.
    pub fn advance(&mut self, snapshot: Snapshot, shortest: Duration) -> Activity {
        let Snapshot { at, rows, outcomes } = snapshot;
        let mut activity = Activity { at, ..Activity::default() };
        if let Some(last) = &self.last {
            activity.is_clock_still = at <= last.at;
            activity.interval = at.since(last.at).max(shortest);
            activity.rows =
                rows.iter().filter_map(|(source, now)| activity_of(*source, now, last, at)).collect();
            activity.rows.sort_unstable_by_key(|row| row.source);
            for (change, (now, before)) in
                activity.outcomes.iter_mut().zip(outcomes.iter().zip(last.outcomes))
            {
                *change = now.saturating_sub(before);
            }
        }
        self.last = Some(Last { at, rows: rows.into_iter().collect(), outcomes });
        activity
    }
}

fn activity_of(source: Source, now: &SourceCounters, last: &Last, at: Timestamp) -> Option<SourceActivity> {
    // A row with another birth was evicted and made anew: all of it is new.
    let change = match last.rows.get(&source) {
        Some(before) if before.first_seen_ns == now.first_seen_ns => difference(now, before),
        _ => *now,
    };
    let age = at.since(Timestamp::from_ns(now.first_seen_ns));
    (change.packets > 0).then_some(SourceActivity { source, change, age })
}

fn difference(now: &SourceCounters, before: &SourceCounters) -> SourceCounters {
    SourceCounters {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
        first_seen_ns: now.first_seen_ns,
        last_seen_ns: now.last_seen_ns,
        port_bits: now.port_bits,
        ports_epoch: now.ports_epoch,
        tcp_syn_packets: now.tcp_syn_packets.wrapping_sub(before.tcp_syn_packets),
        tcp_syn_ack_packets: now.tcp_syn_ack_packets.wrapping_sub(before.tcp_syn_ack_packets),
        tcp_ack_packets: now.tcp_ack_packets.wrapping_sub(before.tcp_ack_packets),
        tcp_rst_packets: now.tcp_rst_packets.wrapping_sub(before.tcp_rst_packets),
        tcp_odd_packets: now.tcp_odd_packets.wrapping_sub(before.tcp_odd_packets),
        tcp_push_packets: now.tcp_push_packets.wrapping_sub(before.tcp_push_packets),
        udp_packets: now.udp_packets.wrapping_sub(before.udp_packets),
        reflection_packets: now.reflection_packets.wrapping_sub(before.reflection_packets),
        icmp_packets: now.icmp_packets.wrapping_sub(before.icmp_packets),
        fragment_packets: now.fragment_packets.wrapping_sub(before.fragment_packets),
        extension_packets: now.extension_packets.wrapping_sub(before.extension_packets),
        other_packets: now.other_packets.wrapping_sub(before.other_packets),
        reflection_port: now.reflection_port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u8, packets: u64, first_seen_ns: u64) -> (Source, SourceCounters) {
        let counters = SourceCounters { packets, first_seen_ns, udp_packets: 7, ..SourceCounters::default() };
        (Source::from_v4_bytes([192, 0, 2, number]), counters)
    }

    fn snapshot(at_ns: u64, rows: Vec<(Source, SourceCounters)>) -> Snapshot {
        Snapshot { at: Timestamp::from_ns(at_ns), rows, outcomes: OutcomeTotals::default() }
    }

    #[test]
    fn only_what_changed_is_activity() {
        let mut history = History::default();
        let shortest = Duration::from_millis(1);
        assert_eq!(history.advance(snapshot(0, vec![row(1, 10, 0), row(2, 5, 0)]), shortest).rows, []);
        let activity = history.advance(
            snapshot(1_000_000_000, vec![row(1, 14, 0), row(2, 5, 0), row(3, 2, 900_000_000)]),
            shortest,
        );
        let seen: Vec<_> =
            activity.rows.iter().map(|row| (row.source.number() & 0xff, row.change.packets)).collect();
        assert_eq!(seen, [(1, 4), (3, 2)]);
        assert_eq!(activity.interval, Duration::from_secs(1));
        assert!((activity.per_second(4) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn an_evicted_row_that_came_back_counts_in_full() {
        let mut history = History::default();
        let shortest = Duration::from_millis(1);
        history.advance(snapshot(0, vec![row(1, 1_000, 0)]), shortest);
        let activity = history.advance(snapshot(10, vec![row(1, 3, 5)]), shortest);
        assert_eq!(activity.rows.first().map(|row| row.change.packets), Some(3));
        assert_eq!(activity.interval, shortest);
    }
}
