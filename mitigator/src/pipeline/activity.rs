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

    /// The rows of those of `sources` that have one.
    #[must_use]
    pub fn rows_of(&self, sources: &[Source]) -> Vec<usize> {
        let row = |source: &Source| self.rows.binary_search_by_key(source, |row| row.source).ok();
        sources.iter().filter_map(row).collect()
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
///
/// Holds as many sources as the largest of the activities, or 65,536: a flood of forged sources, of which each
/// tick brings others, is loud enough for one tick, and those that come later find no room.
#[derive(Clone, Debug, Default)]
pub struct Window {
    earlier: Option<Activity>,
    current: Sum,
    /// Memory of a window that is over.
    spare: Vec<SourceActivity>,
}

/// Activities added up.
#[derive(Clone, Debug, Default)]
struct Sum {
    /// Sorted by source.
    rows: Vec<SourceActivity>,
    /// Sources of a later activity than the first, sorted; merged into `rows` when there are many.
    late: Vec<SourceActivity>,
    room: usize,
    limited: FxHashMap<Signature, u64>,
    interval: Duration,
    outcomes: OutcomeTotals,
    is_clock_still: bool,
}

/// Sources that a window always has room for.
const LEAST_ROOM: usize = 65_536;
/// Late rows are merged when there is one for so many others.
const LATE_ONE_IN: usize = 8;

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
            let earlier = self.earlier.iter_mut().map(|earlier| &mut earlier.rows);
            for rows in [&mut self.current.rows, &mut self.current.late].into_iter().chain(earlier) {
                rows.retain(|row| !blocked.contains(&row.source));
            }
        }
        if self.current.interval < length / 2 {
            return None;
        }
        let half = std::mem::take(&mut self.current).finish(activity);
        let mut earlier = self.earlier.replace(half)?;
        let half = self.earlier.as_ref()?;
        let mut sum = Sum { rows: std::mem::take(&mut self.spare), ..Sum::default() };
        sum.add(&earlier);
        sum.add(half);
        earlier.rows.clear();
        self.current.rows = earlier.rows;
        Some(sum.finish(activity))
    }

    /// Takes back the memory of a window that was given.
    pub fn reuse(&mut self, mut window: Activity) {
        window.rows.clear();
        self.spare = window.rows;
    }
}

impl Sum {
    fn add(&mut self, activity: &Activity) {
        self.room = self.room.max(activity.rows.len()).max(LEAST_ROOM);
        self.add_rows(&activity.rows);
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
    fn finish(mut self, latest: &Activity) -> Activity {
        merge(&mut self.rows, &self.late);
        let mut limited: Vec<(Signature, u64)> = self.limited.into_iter().collect();
        limited.sort_unstable();
        Activity {
            at: latest.at,
            interval: self.interval,
            is_clock_still: self.is_clock_still,
            rows: self.rows,
            outcomes: self.outcomes,
            limited,
            hears_sent: latest.hears_sent,
        }
    }

    fn add_rows(&mut self, rows: &[SourceActivity]) {
        if self.rows.is_empty() {
            self.rows.extend_from_slice(rows);
            return;
        }
        let unknown = add_to(&mut self.rows, rows.iter());
        let mut unknown = add_to(&mut self.late, unknown.into_iter());
        unknown.truncate(self.room.saturating_sub(self.rows.len() + self.late.len()));
        let unknown: Vec<SourceActivity> = unknown.into_iter().copied().collect();
        merge(&mut self.late, &unknown);
        if self.late.len() > self.rows.len() / LATE_ONE_IN {
            merge(&mut self.rows, &self.late);
            self.late.clear();
        }
    }
}

/// Adds `rows` to the sums of the same sources; returns those without one. All are sorted.
fn add_to<'a>(
    sums: &mut [SourceActivity],
    rows: impl Iterator<Item = &'a SourceActivity>,
) -> Vec<&'a SourceActivity> {
    let mut unknown = Vec::new();
    let mut sums = sums.iter_mut().peekable();
    for row in rows {
        while sums.next_if(|sum| sum.source < row.source).is_some() {}
        if let Some(sum) = sums.next_if(|sum| sum.source == row.source) {
            let change = total(&sum.change, &row.change);
            *sum = SourceActivity { change, ..*row };
        } else {
            unknown.push(row);
        }
    }
    unknown
}

/// Puts `others` in their places among `rows`; both are sorted and have no source in common.
fn merge(rows: &mut Vec<SourceActivity>, others: &[SourceActivity]) {
    let Some(first) = others.first() else {
        return;
    };
    let mut kept = rows.len();
    let mut others = others;
    rows.resize(kept + others.len(), *first);
    // From the end, so that nothing is overwritten before it is moved.
    for place in (0..rows.len()).rev() {
        let Some((last, before)) = others.split_last() else {
            break;
        };
        match kept.checked_sub(1).and_then(|index| rows.get(index)).copied() {
            Some(row) if row.source > last.source => {
                kept -= 1;
                if let Some(free) = rows.get_mut(place) {
                    *free = row;
                }
            }
            _ => {
                if let Some(free) = rows.get_mut(place) {
                    *free = *last;
                }
                others = before;
            }
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
    rows: Rows,
    /// Packets that each limit dropped.
    limits: FxHashMap<Signature, u64>,
    answers: Answers,
    /// Memory of an activity that is over.
    spare: Vec<SourceActivity>,
}

/// The rows as last seen.
#[derive(Clone, Debug)]
enum Rows {
    /// All rows of a snapshot, as they came, and where each source is, sorted by source. Snapshot after snapshot is
    /// walked through in step with the one before, which is several times as fast as looking up a million sources.
    Whole { places: Vec<Place>, rows: Vec<(Source, SourceCounters)> },
    /// Rows that came in several snapshots.
    Collected(FxHashMap<Source, Known>),
}

/// Rows of a snapshot that are fetched at a time.
const FETCHED: usize = 32;

/// Where a source stands in a snapshot.
#[derive(Clone, Copy, Debug)]
struct Place {
    source: Source,
    row: usize,
    /// As in [`Known`].
    earlier_port_bits: u64,
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
}

impl Default for Rows {
    fn default() -> Self {
        Self::Collected(FxHashMap::default())
    }
}

impl Rows {
    fn get(&self, source: Source) -> Option<Known> {
        match self {
            Self::Collected(known) => known.get(&source).copied(),
            Self::Whole { places, rows } => {
                let index = places.binary_search_by_key(&source, |place| place.source).ok()?;
                places.get(index).and_then(|place| place.known(rows))
            }
        }
    }

    /// As single rows that can be replaced one by one.
    fn collected(&mut self) -> &mut FxHashMap<Source, Known> {
        if let Self::Whole { places, rows } = self {
            let known = places.iter().filter_map(|place| Some((place.source, place.known(rows)?)));
            *self = Self::Collected(known.collect());
        }
        match self {
            Self::Collected(known) => known,
            Self::Whole { .. } => unreachable!("it was collected a moment ago"),
        }
    }

    /// Sorted by source, with nothing in it twice.
    fn sorted(self) -> (Vec<Place>, Vec<(Source, SourceCounters)>) {
        match self {
            Self::Whole { places, rows } => (places, rows),
            Self::Collected(known) => {
                let mut places = Vec::with_capacity(known.len());
                let mut rows = Vec::with_capacity(known.len());
                for (source, known) in known {
                    let earlier_port_bits = known.earlier_port_bits;
                    places.push(Place { source, row: rows.len(), earlier_port_bits });
                    rows.push((source, known.counters));
                }
                places.sort_unstable_by_key(|place| place.source);
                (places, rows)
            }
        }
    }
}

impl Place {
    fn known(&self, rows: &[(Source, SourceCounters)]) -> Option<Known> {
        let (_, counters) = rows.get(self.row)?;
        Some(Known { counters: *counters, earlier_port_bits: self.earlier_port_bits })
    }
}

impl History {
    /// What happened since the snapshot before; the first snapshot gives an empty activity.
    ///
    /// A snapshot that is not later than the one before counts as taken `shortest` after it, which
    /// keeps rates finite when a capture's clock stands still.
    ///
    /// The sources in `watched`, sorted and each once, have a row even if nothing happened.
    pub fn advance(&mut self, snapshot: Snapshot, watched: &[Source], shortest: Duration) -> Activity {
        let Snapshot { at, rows, coverage, outcomes, limits } = snapshot;
        let rows = match &coverage {
            Coverage::All => self.replace_all(rows, at),
            Coverage::Changed { gone } => self.replace_changed(&rows, gone, at),
        };
        self.answers.learn(&rows);
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
        self.add_watched(&mut activity, watched);
        for (change, before) in activity.outcomes.iter_mut().zip(last_outcomes) {
            *change = change.saturating_sub(before);
        }
        activity
    }

    /// Takes back the memory of an activity that is over, so that the next one need not be given a page at a time.
    pub fn reuse(&mut self, mut activity: Activity) {
        activity.rows.clear();
        self.spare = activity.rows;
    }

    /// Takes in a snapshot of all sources; those that are missing are forgotten. Returns the active ones, sorted.
    fn replace_all(&mut self, rows: Vec<(Source, SourceCounters)>, at: Timestamp) -> Vec<SourceActivity> {
        let mut places: Vec<Place> = rows
            .iter()
            .enumerate()
            .map(|(row, (source, _))| Place { source: *source, row, earlier_port_bits: 0 })
            .collect();
        places.sort_unstable_by_key(|place| place.source);
        let (before, rows_before) = std::mem::take(&mut self.rows).sorted();
        let mut before = before.iter().peekable();
        let mut active = std::mem::take(&mut self.spare);
        active.reserve(places.len());
        // Both snapshots lie in memory in an order of their own. Fetched many at a time, with nothing in between, rows
        // are waited for together rather than one by one.
        let mut fetched = [(SourceCounters::EMPTY, None); FETCHED];
        for places in places.chunks_mut(FETCHED) {
            for (place, (now, known)) in places.iter().zip(&mut fetched) {
                while before.next_if(|before| before.source < place.source).is_some() {}
                let earlier = before.next_if(|before| before.source == place.source);
                *known = earlier.and_then(|before| before.known(&rows_before));
                if let Some((_, counters)) = rows.get(place.row) {
                    *now = *counters;
                }
            }
            for (place, (now, known)) in places.iter_mut().zip(&fetched) {
                let (earlier_port_bits, activity) = compare(place.source, now, known.as_ref(), at);
                place.earlier_port_bits = earlier_port_bits;
                active.extend(activity);
            }
        }
        self.rows = Rows::Whole { places, rows };
        active
    }

    /// Takes in some rows, and forgets those that are gone. Returns the active ones, sorted.
    fn replace_changed(
        &mut self,
        rows: &[(Source, SourceCounters)],
        gone: &[Source],
        at: Timestamp,
    ) -> Vec<SourceActivity> {
        let mut active = std::mem::take(&mut self.spare);
        let known = self.rows.collected();
        for source in gone {
            known.remove(source);
        }
        for (source, now) in rows {
            let (earlier_port_bits, activity) = compare(*source, now, known.get(source), at);
            known.insert(*source, Known { counters: *now, earlier_port_bits });
            active.extend(activity);
        }
        active.sort_unstable_by_key(|row| row.source);
        active
    }

    fn add_watched(&self, activity: &mut Activity, watched: &[Source]) {
        let rows = &activity.rows;
        let is_silent = |source: &&Source| rows.binary_search_by_key(*source, |row| row.source).is_err();
        let silent: Vec<SourceActivity> = watched
            .iter()
            .filter(is_silent)
            .filter_map(|source| {
                let totals = self.rows.get(*source)?.counters;
                let age = activity.at.since(Timestamp::from_ns(totals.first_seen_ns));
                Some(SourceActivity { source: *source, change: SourceCounters::EMPTY, totals, age })
            })
            .collect();
        merge(&mut activity.rows, &silent);
    }
}

/// What a source did since it was `before`, if it did anything, and its ports of the epoch before that of `now`.
fn compare(
    source: Source,
    now: &SourceCounters,
    before: Option<&Known>,
    at: Timestamp,
) -> (u64, Option<SourceActivity>) {
    // A row with another birth, or with less in it, was evicted and made anew: all of it is new.
    let mut change = *now;
    let mut earlier_port_bits = 0;
    let before = before.filter(|before| {
        before.counters.first_seen_ns == now.first_seen_ns && before.counters.packets <= now.packets
    });
    if let Some(before) = before {
        change = difference(now, &before.counters);
        earlier_port_bits = match now.ports_epoch.wrapping_sub(before.counters.ports_epoch) {
            0 => before.earlier_port_bits,
            1 => before.counters.port_bits,
            _ => 0,
        };
        change.port_bits |= earlier_port_bits;
    }
    let age = at.since(Timestamp::from_ns(now.first_seen_ns));
    let is_active = change.packets > 0 || change.sent_packets > 0;
    (earlier_port_bits, is_active.then_some(SourceActivity { source, change, totals: *now, age }))
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
            let known = (0..3).filter(|last| history.rows.get(row(*last, 1, 0).0).is_some());
            assert_eq!(known.collect::<Vec<_>>(), [at_ns]);
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
