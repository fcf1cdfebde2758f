//! `Rows`: what each source did between two tables of counters, worked out when it is asked for.
//!
//! Of a million sources both tables are far larger than any cache, and so would be what is written down of them: working
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

/// All rows of the data plane at one instant, each source once, as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<(Source, SourceCounters)>,
    /// By row: its ports of the epoch before that of its counters.
    pub(super) earlier_port_bits: Vec<u64>,
}

/// Some rows of a table, with what they were in an earlier one.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    at: Timestamp,
    before: Arc<Table>,
    now: Arc<Table>,
    places: Vec<Places>,
}

/// Where a source stands in both tables, which are bounded far below 2^32 rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    now: u32,
    /// `None` for a row that was made since.
    before: Option<u32>,
}

impl Table {
    pub(super) fn get(&self, place: usize) -> Option<(&SourceCounters, u64)> {
        let (_, counters) = self.rows.get(place)?;
        Some((counters, *self.earlier_port_bits.get(place)?))
    }
}

impl Places {
    #[inline]
    pub(super) fn new(now: usize, before: Option<usize>) -> Self {
        let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        Self { now: place(now), before: before.map(place) }
    }
}

impl Rows {
    /// No rows, to be added at a time.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self { at, ..Self::default() }
    }

    /// Those at some places of `now`, a table read at a time, beside the same in `before`.
    pub(super) const fn between(
        before: Arc<Table>,
        now: Arc<Table>,
        at: Timestamp,
        places: Vec<Places>,
    ) -> Self {
        Self { at, before, now, places }
    }

    /// Adds a source with its counters before, and ports of the epoch before that of those now.
    pub fn push(
        &mut self,
        source: Source,
        before: Option<&SourceCounters>,
        now: &SourceCounters,
        earlier_port_bits: u64,
    ) {
        let (table_before, table_now) = (Arc::make_mut(&mut self.before), Arc::make_mut(&mut self.now));
        let place_before = before.map(|_| table_before.rows.len());
        table_before.rows.extend(before.map(|before| (source, *before)));
        self.places.push(Places::new(table_now.rows.len(), place_before));
        table_now.rows.push((source, *now));
        table_now.earlier_port_bits.push(earlier_port_bits);
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// One of them; `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<SourceActivity<'_>> {
        self.activity(self.places.get(index)?)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = SourceActivity<'_>> {
        self.places.iter().filter_map(|places| self.activity(places))
    }

    /// Some of them, with what they have sent and were sent since their rows were made.
    pub fn totals(&self, range: Range<usize>) -> impl Iterator<Item = (Source, &SourceCounters)> {
        let places = self.places.get(range.start..range.end.min(self.places.len())).unwrap_or_default();
        places.iter().filter_map(|places| self.row_now(places)).map(|(source, totals)| (*source, totals))
    }

    /// Whose they are, which is had for less.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.places.iter().filter_map(|places| Some(self.row_now(places)?.0))
    }

    /// Whose one of them is.
    #[must_use]
    pub fn source(&self, index: usize) -> Option<Source> {
        Some(self.row_now(self.places.get(index)?)?.0)
    }

    /// The memory of what led to the rows, which are over.
    pub(super) fn into_memory(mut self) -> Vec<Places> {
        self.places.clear();
        self.places
    }

    fn row_now(&self, places: &Places) -> Option<&(Source, SourceCounters)> {
        self.now.rows.get(places.now as usize)
    }

    #[inline]
    fn activity(&self, places: &Places) -> Option<SourceActivity<'_>> {
        let (source, now) = self.row_now(places)?;
        let earlier_port_bits = *self.now.earlier_port_bits.get(places.now as usize)?;
        let before = places.before.and_then(|place| self.before.rows.get(place as usize));
        Some(SourceActivity::between(
            before.map(|(_, counters)| counters),
            now,
            earlier_port_bits,
            *source,
            self.at,
        ))
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
        if did_something(before, now) {
            change = before.map_or(*now, |before| difference(now, before));
            change.port_bits |= earlier_port_bits;
        }
        let age = at.since(Timestamp::from_ns(now.first_seen_ns));
        Self { source, age, change, totals: now }
    }
}

/// Whether a row's source sent or was sent something since its counters were `before`, or since it was made.
#[inline]
pub(super) fn did_something(before: Option<&SourceCounters>, now: &SourceCounters) -> bool {
    match before {
        Some(before) => now.packets != before.packets || now.sent_packets != before.sent_packets,
        // Perhaps another source did it.
        None if now.may_be_inherited() => false,
        None => now.packets != 0 || now.sent_packets != 0,
    }
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
    use mitigator_common::RowMarks;

    use super::*;

    /// The whole of what another source sent may have been put back into a row that has just been emptied.
    #[test]
    fn what_may_be_anothers_is_held_against_nobody() {
        let (old, new) = (RowMarks::NONE, RowMarks::HAD_ANOTHER);
        let counters = |packets: u32, marks| SourceCounters {
            packets: u64::from(packets),
            udp_packets: packets,
            first_seen_ns: 5,
            marks,
            ..SourceCounters::EMPTY
        };
        for (description, before, now, marks, expected) in [
            ("a row that was free", None, 1_000_001, old, 1_000_001),
            ("a row that another source had", None, 1_000_001, new, 0),
            ("the same row, seen once more", Some(1_000_001), 1_000_400, new, 399),
            ("a light source in such a row, as forged ones are", None, 16, new, 16),
            ("a number that was taken back", Some(1_000_001), 17, new, 0),
        ] {
            let (before, now) = (before.map(|packets| counters(packets, marks)), counters(now, marks));
            let before = before.as_ref().filter(|before| is_same_row(before, &now));
            let activity = SourceActivity::between(before, &now, 0, Source::default(), Timestamp::from_ns(9));
            let change = activity.change;
            assert_eq!(
                (change.packets, u64::from(change.udp_packets)),
                (expected, expected),
                "{description}"
            );
            assert_eq!(did_something(before, &now), expected > 0, "{description}");
        }
    }
}
