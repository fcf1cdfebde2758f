//! `Activity`: what every source did between two snapshots.

use std::time::Duration;

use mitigator_common::{Outcome, Signature, Source, SourceCounters};

use super::snapshot::OutcomeTotals;
use super::time::Timestamp;

/// What one source did in an interval. Who, how long and how much stand together: of a million rows most is looked at
/// for that alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceActivity {
    /// Who.
    pub source: Source,
    /// Since the source's first packet.
    pub age: Duration,
    /// Packets of each kind in the interval; times as the later snapshot has them; ports of its epoch and
    /// the one before, so that a new epoch does not make a scanner look like the client of one port.
    pub change: SourceCounters,
    /// Since the source's row was made.
    pub totals: SourceCounters,
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
    /// Sources that sent something, or were sent something, each once, in the order of the data plane's
    /// table, or of the sources where it tells changes alone.
    pub rows: Vec<SourceActivity>,
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
        let rows = self.rows.iter().enumerate();
        rows.filter(|(_, row)| sources.contains(&row.source)).map(|(index, _)| index).collect()
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

impl SourceActivity {
    /// What a source did from `before` to `now`; `None` when it did nothing.
    ///
    /// A row with another birth, or with less in it, was evicted and made anew: all of it is new. Ports of the epoch
    /// before that of `now` count, too.
    pub(super) fn between(
        before: Option<&SourceCounters>,
        now: &SourceCounters,
        earlier_port_bits: u64,
        source: Source,
        at: Timestamp,
    ) -> Option<Self> {
        let mut change = match before.filter(|before| is_same_row(before, now)) {
            Some(before) if before.packets == now.packets && before.sent_packets == now.sent_packets => {
                return None;
            }
            Some(before) => difference(now, before),
            None if now.packets == 0 && now.sent_packets == 0 => return None,
            None => *now,
        };
        change.port_bits |= earlier_port_bits;
        let age = at.since(Timestamp::from_ns(now.first_seen_ns));
        Some(Self { source, change, totals: *now, age })
    }

    /// A source that did nothing.
    pub(super) fn silent(source: Source, now: &SourceCounters, at: Timestamp) -> Self {
        let age = at.since(Timestamp::from_ns(now.first_seen_ns));
        Self { source, change: SourceCounters::EMPTY, totals: *now, age }
    }
}

/// Whether both are of one row of the data plane, which was not evicted in between.
pub(super) const fn is_same_row(before: &SourceCounters, now: &SourceCounters) -> bool {
    before.first_seen_ns == now.first_seen_ns && before.packets <= now.packets
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
