//! `Rows`: what each source did between two readings of its counters, worked out when it is asked for.
//!
//! Of a million sources both readings are far larger than any cache, and so would be what is written down of them: working
//! a change out twice costs less than writing it once.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use mitigator_common::{Source, SourceCounters};

use super::time::Timestamp;

/// What one source did in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceActivity<'a> {
    /// Who.
    pub source: Source,
    /// Since the source's first packet.
    pub age: Duration,
    /// Packets of each kind in the interval; times as the later table has them; ports of its epoch and
    /// the one before, so that a new epoch does not make a scanner look like the client of one port.
    pub change: SourceCounters,
    /// Since the source's row was made.
    pub totals: &'a SourceCounters,
}

/// Rows that were read at one instant, each source once, as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<(Source, SourceCounters)>,
    /// By row: its ports of the epoch before that of its counters.
    pub(super) earlier_port_bits: Vec<u64>,
}

/// Some rows, with what they were earlier.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    at: Timestamp,
    tables: Vec<Arc<Table>>,
    pairs: Vec<Pair>,
}

/// Where a row stands as it was read at one time: in which table, and where there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) table: u32,
    pub(super) row: u32,
}

/// A row as it is and as it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) now: Version,
    /// [`Version::NONE`] for a row that was made since.
    pub(super) before: Version,
}

impl Version {
    /// No row.
    pub(super) const NONE: Self = Self { table: u32::MAX, row: u32::MAX };

    /// Tables are bounded far below 2^32 rows.
    #[inline]
    pub(super) fn new(table: usize, row: usize) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { table: number(table), row: number(row) }
    }

    /// The row that stands there.
    #[inline]
    pub(super) fn of(self, tables: &[Arc<Table>]) -> Option<&(Source, SourceCounters)> {
        tables.get(self.table as usize)?.rows.get(self.row as usize)
    }

    /// Its ports of the epoch before that of its counters.
    #[inline]
    pub(super) fn earlier_port_bits(self, tables: &[Arc<Table>]) -> Option<u64> {
        tables.get(self.table as usize)?.earlier_port_bits.get(self.row as usize).copied()
    }
}

impl Table {
    pub(super) fn push(&mut self, row: (Source, SourceCounters), earlier_port_bits: u64) {
        self.rows.push(row);
        self.earlier_port_bits.push(earlier_port_bits);
    }
}

impl Rows {
    /// No rows, to be added at a time.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self { at, tables: vec![Arc::default()], pairs: Vec::new() }
    }

    /// Those of some tables, read at a time.
    pub(super) const fn of(tables: Vec<Arc<Table>>, at: Timestamp, pairs: Vec<Pair>) -> Self {
        Self { at, tables, pairs }
    }

    /// Adds a source with its counters before, and ports of the epoch before that of those now, to rows that began
    /// with none.
    pub fn push(
        &mut self,
        source: Source,
        before: Option<&SourceCounters>,
        now: &SourceCounters,
        earlier_port_bits: u64,
    ) {
        if self.tables.is_empty() {
            self.tables.push(Arc::default());
        }
        let Some(table) = self.tables.first_mut().map(Arc::make_mut) else { return };
        let place_before = before.map_or(Version::NONE, |_| Version::new(0, table.rows.len()));
        if let Some(before) = before {
            table.push((source, *before), 0);
        }
        self.pairs.push(Pair { now: Version::new(0, table.rows.len()), before: place_before });
        table.push((source, *now), earlier_port_bits);
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// One of them; `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<SourceActivity<'_>> {
        self.activity(self.pairs.get(index)?)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = SourceActivity<'_>> {
        self.pairs.iter().filter_map(|pair| self.activity(pair))
    }

    /// Some of them, with what they have sent and were sent since their rows were made.
    pub fn totals(&self, range: Range<usize>) -> impl Iterator<Item = (Source, &SourceCounters)> {
        let pairs = self.pairs.get(range.start..range.end.min(self.pairs.len())).unwrap_or_default();
        pairs.iter().filter_map(|pair| self.row_now(pair)).map(|(source, totals)| (*source, totals))
    }

    /// Whose they are, which is had for less.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.pairs.iter().filter_map(|pair| Some(self.row_now(pair)?.0))
    }

    /// Whose one of them is.
    #[must_use]
    pub fn source(&self, index: usize) -> Option<Source> {
        Some(self.row_now(self.pairs.get(index)?)?.0)
    }

    /// The memory of what led to the rows, which are over.
    pub(super) fn into_memory(mut self) -> Vec<Pair> {
        self.pairs.clear();
        self.pairs
    }

    #[inline]
    fn row_now(&self, pair: &Pair) -> Option<&(Source, SourceCounters)> {
        pair.now.of(&self.tables)
    }

    #[inline]
    fn activity(&self, pair: &Pair) -> Option<SourceActivity<'_>> {
        let (source, now) = self.row_now(pair)?;
        let earlier_port_bits = pair.now.earlier_port_bits(&self.tables)?;
        let before = pair.before.of(&self.tables).map(|(_, counters)| counters);
        Some(SourceActivity::between(before, now, earlier_port_bits, *source, self.at))
    }
}

impl<'a> SourceActivity<'a> {
    /// What a source did from `before`, `None` for a row that was made since, to `now`. Ports of the epoch before that
    /// of `now` count, too.
    #[inline(always)]
    pub(super) fn between(
        before: Option<&SourceCounters>,
        now: &'a SourceCounters,
        earlier_port_bits: u64,
        source: Source,
        at: Timestamp,
    ) -> Self {
        let mut change = SourceCounters::EMPTY;
        if has_changed(before, now) {
            change = before.map_or(*now, |before| difference(now, before));
            change.port_bits |= earlier_port_bits;
        }
        let age = at.since(Timestamp::from_ns(now.first_seen_ns));
        Self { source, age, change, totals: now }
    }
}

/// Whether a row's source sent or was sent something since its counters were `before`, or since it was made.
#[inline]
pub(super) fn has_changed(before: Option<&SourceCounters>, now: &SourceCounters) -> bool {
    let (packets, sent_packets) = before.map_or((0, 0), |before| (before.packets, before.sent_packets));
    now.packets != packets || now.sent_packets != sent_packets
}

/// Whether both are of one row of the data plane, which was not evicted in between.
pub(super) const fn is_same_row(before: &SourceCounters, now: &SourceCounters) -> bool {
    before.first_seen_ns == now.first_seen_ns && before.packets <= now.packets
}

#[inline(always)]
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
        destination_port: now.destination_port,
        tcp_fin_packets: now.tcp_fin_packets.wrapping_sub(before.tcp_fin_packets),
        marks: now.marks,
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
    fn what_a_row_had_before_is_not_counted_again() {
        let counters = |packets: u32| SourceCounters {
            packets: u64::from(packets),
            udp_packets: packets,
            first_seen_ns: 5,
            ..SourceCounters::EMPTY
        };
        for (description, before, now, expected) in [
            ("seen for the first time", None, 1_000_001, 1_000_001),
            ("seen once more", Some(1_000_001), 1_000_400, 399),
            ("nothing since", Some(1_000_001), 1_000_001, 0),
            ("a number that was taken back", Some(1_000_001), 17, 17),
        ] {
            let (before, now) = (before.map(counters), counters(now));
            let before = before.as_ref().filter(|before| is_same_row(before, &now));
            let activity = SourceActivity::between(before, &now, 0, Source::default(), Timestamp::from_ns(9));
            let change = activity.change;
            assert_eq!(
                (change.packets, u64::from(change.udp_packets)),
                (expected, expected),
                "{description}"
            );
            assert_eq!(has_changed(before, &now), expected > 0, "{description}");
        }
    }
}
