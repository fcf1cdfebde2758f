//! `Activity`: what every source did between two snapshots.

use std::time::Duration;

use mitigator_common::{Outcome, Signature, Source, SourceCounters};
use rustc_hash::{FxHashMap, FxHashSet};

use super::snapshot::{Coverage, OutcomeTotals, Snapshot};
use super::time::Timestamp;

/// What one source did in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceActivity {
    /// Who.
    pub source: Source,
    /// Packets of each kind in the interval; times as the later snapshot has them; ports of its epoch and
    /// the one before, so that a new epoch does not make a scanner look like the client of one port.
    pub change: SourceCounters,
    /// Since the source's row was made.
    pub totals: SourceCounters,
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
    /// Sources that sent something, or were sent something, sorted by source.
    pub rows: Vec<SourceActivity>,
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

    /// How many sources sent something.
    #[must_use]
    pub fn active_sources(&self) -> usize {
        self.rows.iter().filter(|row| row.change.packets > 0).count()
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

/// Adds up activities until they cover some seconds, in which what comes slowly can be told from nothing. Windows
/// overlap by half, so that what begins in the middle of one is not seen later for it.
#[derive(Clone, Debug, Default)]
pub struct Window {
    earlier: Option<Activity>,
    current: Sum,
}

/// Activities added up.
#[derive(Clone, Debug, Default)]
struct Sum {
    rows: FxHashMap<Source, SourceActivity>,
    limited: FxHashMap<Signature, u64>,
    interval: Duration,
    outcomes: OutcomeTotals,
    is_clock_still: bool,
}

impl Window {
    /// Adds one activity; when half of `length` is reached, gives all since `length` ago.
    ///
    /// Sources that are `blocked` from here on are left out: over a span in most of which they could send nothing,
    /// the loudest would look light.
    pub fn add(
        &mut self,
        activity: &Activity,
        blocked: &FxHashSet<Source>,
        length: Duration,
    ) -> Option<Activity> {
        self.current.add(activity);
        if !blocked.is_empty() {
            self.current.rows.retain(|source, _| !blocked.contains(source));
            if let Some(earlier) = &mut self.earlier {
                earlier.rows.retain(|row| !blocked.contains(&row.source));
            }
        }
        if self.current.interval < length / 2 {
            return None;
        }
        let half = std::mem::take(&mut self.current).finish(activity);
        let earlier = self.earlier.replace(half.clone())?;
        let mut sum = Sum::default();
        sum.add(&earlier);
        sum.add(&half);
        Some(sum.finish(activity))
    }
}

impl Sum {
    fn add(&mut self, activity: &Activity) {
        for row in &activity.rows {
            self.rows
                .entry(row.source)
                .and_modify(|sum| {
                    let change = total(&sum.change, &row.change);
                    *sum = SourceActivity { change, ..*row };
                })
                .or_insert(*row);
        }
        for (signature, packets) in &activity.limited {
            *self.limited.entry(*signature).or_default() += packets;
        }
        for (sum, count) in self.outcomes.iter_mut().zip(activity.outcomes) {
            *sum = sum.saturating_add(count);
        }
        self.interval += activity.interval;
        self.is_clock_still |= activity.is_clock_still;
    }

    /// What was added, as of the latest activity.
    fn finish(self, latest: &Activity) -> Activity {
        let mut rows: Vec<SourceActivity> = self.rows.into_values().collect();
        rows.sort_unstable_by_key(|row| row.source);
        let mut limited: Vec<(Signature, u64)> = self.limited.into_iter().collect();
        limited.sort_unstable();
        Activity {
            at: latest.at,
            interval: self.interval,
            is_clock_still: self.is_clock_still,
            rows,
            outcomes: self.outcomes,
            limited,
            hears_sent: latest.hears_sent,
        }
    }
}

/// The packets of two intervals together; times, ports and birth as the later one has them.
fn total(before: &SourceCounters, later: &SourceCounters) -> SourceCounters {
    let sum = |field: fn(&SourceCounters) -> u32| field(before).saturating_add(field(later));
    SourceCounters {
        packets: before.packets.saturating_add(later.packets),
        bytes: before.bytes.saturating_add(later.bytes),
        first_seen_ns: later.first_seen_ns,
        last_seen_ns: later.last_seen_ns,
        port_bits: before.port_bits | later.port_bits,
        ports_epoch: later.ports_epoch,
        tcp_syn_packets: sum(|row| row.tcp_syn_packets),
        tcp_syn_ack_packets: sum(|row| row.tcp_syn_ack_packets),
        tcp_ack_packets: sum(|row| row.tcp_ack_packets),
        tcp_rst_packets: sum(|row| row.tcp_rst_packets),
        tcp_odd_packets: sum(|row| row.tcp_odd_packets),
        tcp_push_packets: sum(|row| row.tcp_push_packets),
        udp_packets: sum(|row| row.udp_packets),
        reflection_packets: sum(|row| row.reflection_packets),
        icmp_packets: sum(|row| row.icmp_packets),
        fragment_packets: sum(|row| row.fragment_packets),
        extension_packets: sum(|row| row.extension_packets),
        other_packets: sum(|row| row.other_packets),
        reflection_port: later.reflection_port,
        tcp_fin_packets: sum(|row| row.tcp_fin_packets),
        destination_port: later.destination_port,
        sent_packets: sum(|row| row.sent_packets),
        sent_syn_packets: sum(|row| row.sent_syn_packets),
        sent_syn_ack_packets: sum(|row| row.sent_syn_ack_packets),
        sent_data_packets: sum(|row| row.sent_data_packets),
        sent_udp_packets: sum(|row| row.sent_udp_packets),
        sent_closing_packets: sum(|row| row.sent_closing_packets),
    }
}

/// Remembers the last snapshot.
#[derive(Clone, Debug, Default)]
pub struct History {
    last: Option<(Timestamp, OutcomeTotals)>,
    rows: FxHashMap<Source, Known>,
    /// Packets that each limit dropped.
    limits: FxHashMap<Signature, u64>,
    answers: Answers,
    /// Number of the last snapshot.
    snapshots: u64,
}

/// Whether the answers of this host are seen. A load balancer whose servers answer past it, or a host with
/// another way out, is heard to send and yet not to answer.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    /// Whether anything was sent to who sent something.
    any: bool,
    /// Clients with a connection lately that were answered, and those that were not.
    answered: f64,
    unanswered: f64,
}

/// Clients that tell whether answers are seen.
const ENOUGH_CLIENTS: f64 = 5.0;
/// What is left of a client's word after another tick.
const KEPT: f64 = 0.98;

impl Answers {
    fn learn(&mut self, rows: &[SourceActivity]) {
        self.answered *= KEPT;
        self.unanswered *= KEPT;
        for SourceActivity { change, totals, .. } in rows {
            self.any |= totals.sent_packets > 0 && totals.packets > 0;
            // Only who was answered sends an ACK after its SYN, or forges it.
            if totals.tcp_syn_packets > 0 && change.tcp_ack_packets > 0 {
                let word = if totals.sent_packets > 0 { &mut self.answered } else { &mut self.unanswered };
                *word += 1.0;
            }
        }
    }

    fn are_heard(self) -> bool {
        let are_few = self.answered + self.unanswered < ENOUGH_CLIENTS;
        self.any && (are_few || self.answered >= self.unanswered)
    }
}

/// The row of a source as last seen.
#[derive(Clone, Copy, Debug)]
struct Known {
    counters: SourceCounters,
    /// Ports of the epoch before that of `counters`.
    earlier_port_bits: u64,
    /// Number of the snapshot that had the row.
    snapshot: u64,
}

impl History {
    /// What happened since the snapshot before; the first snapshot gives an empty activity.
    ///
    /// A snapshot that is not later than the one before counts as taken `shortest` after it, which
    /// keeps rates finite when a capture's clock stands still.
    ///
    /// The sources in `watched` have a row even if nothing happened.
    pub fn advance(&mut self, snapshot: Snapshot, watched: &[Source], shortest: Duration) -> Activity {
        let Snapshot { at, rows, coverage, outcomes, limits } = snapshot;
        self.snapshots += 1;
        if let Coverage::Changed { gone } = &coverage {
            for source in gone {
                self.rows.remove(source);
            }
        }
        let row_count = rows.len();
        let rows: Vec<SourceActivity> =
            rows.into_iter().filter_map(|(source, now)| self.advance_row(source, now, at)).collect();
        self.answers.learn(&rows);
        if coverage == Coverage::All && self.rows.len() > row_count {
            self.rows.retain(|_, known| known.snapshot == self.snapshots);
        }
        let limited = limits
            .iter()
            .map(|(signature, limit)| {
                // A limit that was written anew counts from zero.
                let before = self.limits.get(signature).filter(|before| **before <= limit.dropped);
                (*signature, limit.dropped - before.copied().unwrap_or(0))
            })
            .collect();
        self.limits = limits.into_iter().map(|(signature, limit)| (signature, limit.dropped)).collect();
        let Some((last_at, last_outcomes)) = self.last.replace((at, outcomes)) else {
            return Activity { at, ..Activity::default() };
        };
        let mut activity = Activity {
            at,
            interval: at.since(last_at).max(shortest),
            is_clock_still: at <= last_at,
            rows,
            outcomes,
            limited,
            hears_sent: self.answers.are_heard(),
        };
        let seen: FxHashSet<Source> = match watched {
            [] => FxHashSet::default(),
            _ => activity.rows.iter().map(|row| row.source).collect(),
        };
        activity.rows.extend(watched.iter().filter(|source| !seen.contains(source)).filter_map(|source| {
            let totals = self.rows.get(source)?.counters;
            let age = at.since(Timestamp::from_ns(totals.first_seen_ns));
            Some(SourceActivity { source: *source, change: SourceCounters::EMPTY, totals, age })
        }));
        activity.rows.sort_unstable_by_key(|row| row.source);
        for (change, before) in activity.outcomes.iter_mut().zip(last_outcomes) {
            *change = change.saturating_sub(before);
        }
        activity
    }

    fn advance_row(&mut self, source: Source, now: SourceCounters, at: Timestamp) -> Option<SourceActivity> {
        let mut known = Known { counters: now, earlier_port_bits: 0, snapshot: self.snapshots };
        // A row with another birth, or with less in it, was evicted and made anew: all of it is new.
        let mut change = now;
        let before = self.rows.get(&source).filter(|before| {
            before.counters.first_seen_ns == now.first_seen_ns && before.counters.packets <= now.packets
        });
        if let Some(before) = before {
            change = difference(&now, &before.counters);
            known.earlier_port_bits = match now.ports_epoch.wrapping_sub(before.counters.ports_epoch) {
                0 => before.earlier_port_bits,
                1 => before.counters.port_bits,
                _ => 0,
            };
            change.port_bits |= known.earlier_port_bits;
        }
        self.rows.insert(source, known);
        let age = at.since(Timestamp::from_ns(now.first_seen_ns));
        (change.packets > 0 || change.sent_packets > 0).then_some(SourceActivity {
            source,
            change,
            totals: now,
            age,
        })
    }
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
        tcp_fin_packets: now.tcp_fin_packets.wrapping_sub(before.tcp_fin_packets),
        destination_port: now.destination_port,
        sent_packets: now.sent_packets.wrapping_sub(before.sent_packets),
        sent_syn_packets: now.sent_syn_packets.wrapping_sub(before.sent_syn_packets),
        sent_syn_ack_packets: now.sent_syn_ack_packets.wrapping_sub(before.sent_syn_ack_packets),
        sent_data_packets: now.sent_data_packets.wrapping_sub(before.sent_data_packets),
        sent_udp_packets: now.sent_udp_packets.wrapping_sub(before.sent_udp_packets),
        sent_closing_packets: now.sent_closing_packets.wrapping_sub(before.sent_closing_packets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_heard_where_clients_are_answered() {
        let client = |number: u8, sent_packets: u32| {
            let totals = SourceCounters {
                packets: 9,
                tcp_syn_packets: 1,
                tcp_ack_packets: 8,
                sent_packets,
                ..SourceCounters::EMPTY
            };
            let source = Source::from_v4_bytes([192, 0, 2, number]);
            SourceActivity { source, change: totals, totals, age: Duration::ZERO }
        };
        for (description, answered, unanswered, expected) in [
            ("nobody there", 0, 0, false),
            ("a server", 20, 0, true),
            ("a server and forged connections", 20, 15, true),
            ("one-way capture", 0, 20, false),
            ("a balancer whose servers answer past it", 2, 20, false),
            ("a few that are not answered yet", 1, 3, true),
        ] {
            let rows: Vec<SourceActivity> = (0..answered)
                .map(|number| client(number, 7))
                .chain((0..unanswered).map(|number| client(100 + number, 0)))
                .collect();
            let mut answers = Answers::default();
            answers.learn(&rows);
            assert_eq!(answers.are_heard(), expected, "{description}");
        }
    }

    fn row(number: u8, packets: u64, first_seen_ns: u64) -> (Source, SourceCounters) {
        let counters = SourceCounters { packets, first_seen_ns, udp_packets: 7, ..SourceCounters::default() };
        (Source::from_v4_bytes([192, 0, 2, number]), counters)
    }

    fn snapshot(at_ns: u64, rows: Vec<(Source, SourceCounters)>) -> Snapshot {
        Snapshot { at: Timestamp::from_ns(at_ns), rows, ..Snapshot::default() }
    }

    fn packets_of(activity: &Activity) -> Vec<(u64, u64)> {
        activity.rows.iter().map(|row| (row.source.number() & 0xff, row.change.packets)).collect()
    }

    #[test]
    fn only_what_changed_is_activity() {
        let mut history = History::default();
        let shortest = Duration::from_millis(1);
        assert_eq!(history.advance(snapshot(0, vec![row(1, 10, 0), row(2, 5, 0)]), &[], shortest).rows, []);
        let activity = history.advance(
            snapshot(1_000_000_000, vec![row(1, 14, 0), row(2, 5, 0), row(3, 2, 900_000_000)]),
            &[],
            shortest,
        );
        assert_eq!(packets_of(&activity), [(1, 4), (3, 2)]);
        assert_eq!(activity.interval, Duration::from_secs(1));
        assert!((activity.per_second(4) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn an_evicted_row_that_came_back_counts_in_full() {
        let mut history = History::default();
        let shortest = Duration::from_millis(1);
        history.advance(snapshot(0, vec![row(1, 1_000, 0)]), &[], shortest);
        let activity = history.advance(snapshot(10, vec![row(1, 3, 5)]), &[], shortest);
        assert_eq!(activity.rows.first().map(|row| row.change.packets), Some(3));
        assert_eq!(activity.interval, shortest);
    }

    #[test]
    fn rows_that_a_snapshot_of_changes_leaves_out_are_remembered() {
        let mut history = History::default();
        let shortest = Duration::from_millis(1);
        let changes = |at_ns, rows, gone: &[u8]| Snapshot {
            coverage: Coverage::Changed { gone: gone.iter().map(|number| row(*number, 0, 0).0).collect() },
            ..snapshot(at_ns, rows)
        };
        history.advance(changes(0, vec![row(1, 10, 0), row(2, 5, 0)], &[]), &[], shortest);
        history.advance(changes(1, vec![row(2, 6, 0)], &[]), &[], shortest);
        let activity = history.advance(changes(2, vec![row(1, 13, 0), row(2, 6, 0)], &[2]), &[], shortest);
        assert_eq!(packets_of(&activity), [(1, 3), (2, 6)]);
    }

    #[test]
    fn a_full_snapshot_forgets_who_is_missing() {
        let mut history = History::default();
        for at_ns in 0..3_u8 {
            history.advance(
                snapshot(u64::from(at_ns), vec![row(at_ns, 1, 0)]),
                &[],
                Duration::from_millis(1),
            );
            assert_eq!(history.rows.len(), 1);
        }
    }

    #[test]
    fn ports_of_the_epoch_before_still_count_and_older_ones_do_not() {
        let mut history = History::default();
        let mut ports_at = |ports_epoch: u32, packets: u64, port_bits: u64| {
            let (source, counters) = row(1, packets, 0);
            let counters = SourceCounters { ports_epoch, port_bits, ..counters };
            let snapshot = snapshot(u64::from(ports_epoch) << 30, vec![(source, counters)]);
            let activity = history.advance(snapshot, &[], Duration::from_millis(1));
            activity.rows.first().map(|row| row.change.port_bits)
        };
        assert_eq!(ports_at(7, 1, 0b0011), None, "the first snapshot");
        assert_eq!(ports_at(7, 2, 0b0111), Some(0b0111), "the same epoch");
        assert_eq!(ports_at(8, 3, 0b1000), Some(0b1111), "the next one");
        assert_eq!(ports_at(8, 4, 0b1000), Some(0b1111), "later in it");
        assert_eq!(ports_at(9, 5, 0b0001), Some(0b1001), "the one after");
        assert_eq!(ports_at(12, 6, 0b0001), Some(0b0001), "after a pause");
    }
}
