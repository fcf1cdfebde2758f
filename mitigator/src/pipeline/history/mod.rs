//! `History`: remembers snapshots, and tells what happened since: in the latest tick, and over windows that overlap
//! by half, so that what begins in the middle of one is not seen later for it.

mod answers;
mod known;
mod settled;

use std::collections::VecDeque;
use std::time::Duration;

use mitigator_common::{Signature, Source, SourceCounters};
use rustc_hash::{FxHashMap, FxHashSet};

use self::answers::Answers;
use self::known::{Known, Since};
use super::activity::Activity;
use super::rows::{Pair, Rows, SourceActivity, has_changed};
use super::snapshot::{OutcomeTotals, Snapshot};
use super::time::Timestamp;

/// Remembers the rows as last seen, and the moments at which windows begin.
#[derive(Debug, Default)]
pub struct History {
    last: Option<Totals>,
    /// The oldest first.
    marks: VecDeque<Mark>,
    known: Known,
    answers: Answers,
    /// Memory of an activity that is over.
    spare: Vec<Pair>,
}

/// Whom an activity shows beside those who sent or were sent something, and whom it does not.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    /// They have a row even if nothing happened, where the snapshot has one. In order.
    pub watched: &'a [Source],
    /// They have none.
    pub left_out: &'a [&'a FxHashSet<Source>],
}

/// Everything but the rows at one instant.
#[derive(Clone, Debug, Default)]
struct Totals {
    at: Timestamp,
    outcomes: OutcomeTotals,
    /// Packets that each limit dropped.
    limits: FxHashMap<Signature, u64>,
}

/// A moment at which a window may begin.
#[derive(Debug)]
struct Mark {
    totals: Totals,
    /// Since then.
    elapsed: Elapsed,
    rows: Since,
}

/// As in [`Activity`].
#[derive(Clone, Copy, Debug, Default)]
struct Elapsed {
    interval: Duration,
    is_clock_still: bool,
}

/// A row, and what it was before.
struct Compared<'a> {
    source: Source,
    /// One with another birth, or with less in it, was evicted and made anew: all of it is new.
    before: Option<&'a SourceCounters>,
    now: &'a SourceCounters,
    /// Ports of the epoch before that of `now`.
    earlier_port_bits: u64,
}

/// Which rows an activity shows, told one by one.
struct Shown<'a> {
    at: Timestamp,
    scope: &'a Scope<'a>,
    active_sources: usize,
}

impl History {
    /// What happened since the snapshot before; the first snapshot gives an empty activity.
    ///
    /// A snapshot that is not later than the one before counts as taken `shortest` after it, which
    /// keeps rates finite when a capture's clock stands still. All snapshots have the same kind of order.
    pub fn advance(&mut self, snapshot: Snapshot, scope: &Scope<'_>, shortest: Duration) -> Activity {
        let Snapshot { at, rows, order, outcomes, limits } = snapshot;
        let mut shown = Shown { at, scope, active_sources: 0 };
        self.answers.fade();
        let mut pairs = std::mem::take(&mut self.spare);
        let marks = self.marks.iter_mut().map(|mark| &mut mark.rows);
        let tables = self.known.advance(rows, order, marks, |row, pair| {
            if shown.takes(&row, |activity| self.answers.note(activity)) {
                pairs.push(pair);
            }
        });
        let rows = Rows::of(tables, at, pairs);
        let limits = limits.into_iter().map(|(signature, limit)| (signature, limit.kept_away())).collect();
        let now = Totals { at, outcomes, limits };
        let active_sources = shown.active_sources;
        let Some(last) = self.last.replace(now.clone()) else {
            self.mark(now);
            return Activity { at, ..Activity::default() };
        };
        let elapsed = Elapsed { interval: at.since(last.at).max(shortest), is_clock_still: at <= last.at };
        for mark in &mut self.marks {
            mark.elapsed.interval += elapsed.interval;
            mark.elapsed.is_clock_still |= elapsed.is_clock_still;
        }
        Activity { rows, active_sources, hears_sent: self.answers.are_heard(), ..now.since(&last, elapsed) }
    }

    /// When the next window begins.
    #[must_use]
    pub fn window_begins(&self) -> Option<Timestamp> {
        self.marks.front().map(|mark| mark.totals.at)
    }

    /// Whether half of `length` is over since the last window.
    #[must_use]
    pub fn is_window_due(&self, length: Duration) -> bool {
        self.marks.back().is_some_and(|latest| latest.elapsed.interval >= length / 2)
    }

    /// Ends a window that is due: what happened since the one before the last ended, or `None` for the first half of
    /// the first. Whoever was blocked since is to be left out: over a span in most of which they could send nothing,
    /// the loudest would look light.
    pub fn window(&mut self, scope: &Scope<'_>) -> Option<Activity> {
        let now = self.last.clone()?;
        let begin = if self.marks.len() > 1 { self.marks.pop_front() } else { None };
        self.mark(now.clone());
        let begin = begin?;
        let mut shown = Shown { at: now.at, scope, active_sources: 0 };
        let mut pairs = std::mem::take(&mut self.spare);
        self.known.compare_with(&begin.rows, |row, pair| {
            if shown.takes(&row, |_| {}) {
                pairs.push(pair);
            }
        });
        let rows = Rows::of(self.known.tables(), now.at, pairs);
        if let Some(next) = self.marks.front() {
            self.known.end(&begin.rows, &next.rows);
        }
        let active_sources = shown.active_sources;
        let since = now.since(&begin.totals, begin.elapsed);
        Some(Activity { rows, active_sources, hears_sent: self.answers.are_heard(), ..since })
    }

    /// Takes the rows of an activity that was judged, so that the next ones need not be given memory a page at a time.
    pub fn reuse(&mut self, activity: &mut Activity) {
        self.spare = std::mem::take(&mut activity.rows).into_memory();
    }

    fn mark(&mut self, totals: Totals) {
        self.marks.push_back(Mark { totals, elapsed: Elapsed::default(), rows: self.known.mark() });
    }
}

impl Scope<'_> {
    fn leaves_out(&self, source: Source) -> bool {
        self.left_out.iter().any(|sources| sources.contains(&source))
    }
}

impl Totals {
    /// The activity since `before`, without rows.
    fn since(self, before: &Self, elapsed: Elapsed) -> Activity {
        let mut outcomes = self.outcomes;
        for (count, before) in outcomes.iter_mut().zip(before.outcomes) {
            *count = count.saturating_sub(before);
        }
        let dropped = |(signature, dropped): (Signature, u64)| {
            // A limit that was written anew counts from zero.
            let before = before.limits.get(&signature).filter(|before| **before <= dropped);
            (signature, dropped - before.copied().unwrap_or(0))
        };
        let mut limited: Vec<(Signature, u64)> = self.limits.into_iter().map(dropped).collect();
        limited.sort_unstable();
        let Elapsed { interval, is_clock_still } = elapsed;
        Activity { at: self.at, interval, is_clock_still, outcomes, limited, ..Activity::default() }
    }
}

impl Shown<'_> {
    /// Whether a row has something to show; tells `noted` what its source did, if anything.
    #[inline]
    fn takes(&mut self, row: &Compared<'_>, noted: impl FnOnce(&SourceActivity<'_>)) -> bool {
        let has_changed = has_changed(row.before, row.now);
        if has_changed {
            let activity =
                SourceActivity::between(row.before, row.now, row.earlier_port_bits, row.source, self.at);
            noted(&activity);
            self.active_sources += usize::from(activity.change.packets > 0);
        }
        let is_watched = || self.scope.watched.binary_search(&row.source).is_ok();
        (has_changed || is_watched()) && !self.scope.leaves_out(row.source)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mitigator_common::RowMarks;

    use super::*;
    use crate::pipeline::rows::is_same_row;
    use crate::pipeline::snapshot::Order;

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
        let first = snapshot(0, vec![row(1, 10, 0), row(2, 5, 0)]);
        assert!(history.advance(first, &Scope::default(), shortest).rows.is_empty());
        let activity = history.advance(
            snapshot(1_000_000_000, vec![row(1, 14, 0), row(2, 5, 0), row(3, 2, 900_000_000)]),
            &Scope::default(),
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
        history.advance(snapshot(0, vec![row(1, 1_000, 0)]), &Scope::default(), shortest);
        let activity = history.advance(snapshot(10, vec![row(1, 3, 5)]), &Scope::default(), shortest);
        assert_eq!(activity.rows.get(0).map(|row| row.change.packets), Some(3));
        assert_eq!(activity.interval, shortest);
    }

    /// Who changes its address before anybody looks twice is in rows that had another before.
    #[test]
    fn a_loud_source_in_a_row_that_another_had_counts_from_its_first_sight() {
        let mut history = History::default();
        let seen = |at_ns, packets| {
            let (source, counters) = row(1, packets, 5);
            snapshot(at_ns, vec![(source, SourceCounters { marks: RowMarks::HAD_ANOTHER, ..counters })])
        };
        let mut advance =
            |snapshot| packets_of(&history.advance(snapshot, &Scope::default(), Duration::from_millis(1)));
        assert_eq!(advance(snapshot(0, Vec::new())), []);
        assert_eq!(advance(seen(10, 1_000)), [(1, 1_000)]);
        assert_eq!(advance(seen(20, 1_400)), [(1, 400)]);
        assert_eq!(advance(seen(30, 1_401)), [(1, 1)]);
    }

    #[test]
    fn rows_that_a_snapshot_of_changes_leaves_out_are_remembered() {
        let mut history = History::default();
        let shortest = Duration::from_millis(1);
        let changes = |at_ns, rows, gone: &[u8]| Snapshot {
            order: Order::BySource { gone: gone.iter().map(|number| row(*number, 0, 0).0).collect() },
            ..snapshot(at_ns, rows)
        };
        history.advance(changes(0, vec![row(1, 10, 0), row(2, 5, 0)], &[]), &Scope::default(), shortest);
        history.advance(changes(1, vec![row(2, 6, 0)], &[]), &Scope::default(), shortest);
        let activity =
            history.advance(changes(2, vec![row(1, 13, 0), row(2, 6, 0)], &[2]), &Scope::default(), shortest);
        assert_eq!(packets_of(&activity), [(1, 3), (2, 6)]);
    }

    type Whole = BTreeMap<Source, SourceCounters>;

    /// What whole tables tell: every source that did something, with its packets.
    fn told(before: &Whole, now: &Whole) -> Vec<(Source, u64)> {
        let packets = |(source, now): (&Source, &SourceCounters)| {
            let before = before.get(source).filter(|before| is_same_row(before, now));
            let packets = now.packets - before.map_or(0, |before| before.packets);
            (packets > 0).then_some((*source, packets))
        };
        now.iter().filter_map(packets).collect()
    }

    fn shown(activity: &Activity) -> Vec<(Source, u64)> {
        let mut rows: Vec<_> = activity.rows.iter().map(|row| (row.source, row.change.packets)).collect();
        rows.sort_unstable();
        rows
    }

    /// Rows that stay quiet for long, rows that do not, and places that go to other sources or are given back.
    #[test]
    fn changes_tell_what_whole_tables_would() {
        for is_by_place in [true, false] {
            let mut random = 0x853c_49e6_748f_ea9b_u64;
            let mut draw = |bound: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 20) % bound
            };
            let mut history = History::default();
            let mut table: Vec<Option<(Source, SourceCounters)>> = vec![None; 60];
            let (mut last, mut marks) = (Whole::new(), Vec::<Whole>::new());
            let mut next = 0_u32;
            for tick in 0..400_u64 {
                let at_ns = tick * 250_000_000;
                let (mut places, mut gone) = (Vec::new(), Vec::new());
                for place in 0..60_u32 {
                    let row = &mut table[place as usize];
                    // Each has its own pace; a third of them go silent for long.
                    if draw(1 + u64::from(place % 12) * u64::from(place % 12)) > 0
                        || u64::from(place) % 3 == tick / 40 % 3
                    {
                        continue;
                    }
                    if row.is_none() || draw(20) == 0 {
                        gone.extend(row.map(|(source, _)| source));
                        next += 1;
                        // Now and then the same source is back in a row that was made anew.
                        let source = row
                            .filter(|_| next.is_multiple_of(4))
                            .map_or(Source::from_v4_bytes(next.to_be_bytes()), |row| row.0);
                        *row = Some((
                            source,
                            SourceCounters { first_seen_ns: at_ns + 1, ..SourceCounters::EMPTY },
                        ));
                    }
                    if let Some((_, counters)) = row {
                        counters.packets += 1 + draw(1 << 33);
                        counters.last_seen_ns = at_ns + 1;
                        places.push(place);
                    }
                }
                let now: Whole = table.iter().flatten().copied().collect();
                let rows = places.iter().filter_map(|place| table[*place as usize]).collect();
                let order = if is_by_place { Order::ByPlace(places) } else { Order::BySource { gone } };
                let activity = history.advance(
                    Snapshot { order, ..snapshot(at_ns, rows) },
                    &Scope::default(),
                    Duration::from_millis(1),
                );
                let description = format!("tick {tick}, by place: {is_by_place}");
                if tick == 0 {
                    marks.push(now.clone());
                } else {
                    assert_eq!(shown(&activity), told(&last, &now), "{description}");
                }
                history.reuse(&mut activity.clone());
                if history.is_window_due(Duration::from_secs(1)) {
                    marks.push(now.clone());
                    let window = history.window(&Scope::default());
                    assert_eq!(window.is_some(), marks.len() > 2, "{description}");
                    if let Some(window) = window {
                        assert_eq!(shown(&window), told(&marks.remove(0), &now), "{description}");
                    }
                }
                last = now;
            }
            assert!(history.known.packed_rows() > 10, "{}", history.known.packed_rows());
        }
    }

    #[test]
    fn ports_of_the_epoch_before_still_count_and_older_ones_do_not() {
        let mut history = History::default();
        let mut ports_at = |ports_epoch: u32, packets: u64, port_bits: u64| {
            let (source, counters) = row(1, packets, 0);
            let counters = SourceCounters { ports_epoch, port_bits, ..counters };
            let snapshot = snapshot(u64::from(ports_epoch) << 30, vec![(source, counters)]);
            let activity = history.advance(snapshot, &Scope::default(), Duration::from_millis(1));
            activity.rows.get(0).map(|row| row.change.port_bits)
        };
        assert_eq!(ports_at(7, 1, 0b0011), None, "the first snapshot");
        assert_eq!(ports_at(7, 2, 0b0111), Some(0b0111), "the same epoch");
        assert_eq!(ports_at(8, 3, 0b1000), Some(0b1111), "the next one");
        assert_eq!(ports_at(8, 4, 0b1000), Some(0b1111), "later in it");
        assert_eq!(ports_at(9, 5, 0b0001), Some(0b1001), "the one after");
        assert_eq!(ports_at(12, 6, 0b0001), Some(0b0001), "after a pause");
    }
}
