//! `History`: remembers snapshots, and tells what happened since: in the latest tick, and over windows that overlap
//! by half, so that what begins in the middle of one is not seen later for it.

mod answers;
mod changes;
mod whole;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mitigator_common::{Signature, Source, SourceCounters};
use rustc_hash::{FxHashMap, FxHashSet};

use self::answers::Answers;
use self::changes::{Known, Since};
use super::activity::Activity;
use super::rows::{Places, Rows, SourceActivity, Table, did_something, is_same_row};
use super::snapshot::{Coverage, OutcomeTotals, Snapshot};
use super::time::Timestamp;

/// Remembers the rows as last seen, and the moments at which windows begin.
#[derive(Debug, Default)]
pub struct History {
    last: Option<Totals>,
    /// The oldest first.
    marks: VecDeque<Mark>,
    /// Of a data plane that reads all of its rows.
    whole: Arc<Table>,
    /// Of one that reads those that changed.
    changing: Known,
    answers: Answers,
    /// Memory of an activity that is over.
    spare: Vec<Places>,
}

/// Whom an activity shows beside those who sent or were sent something, and whom it does not.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    /// They have a row even if nothing happened.
    pub watched: Vec<Source>,
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
    whole: Arc<Table>,
    changes: Since,
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
    /// keeps rates finite when a capture's clock stands still. All snapshots have the same kind of coverage.
    pub fn advance(&mut self, snapshot: Snapshot, scope: &Scope<'_>, shortest: Duration) -> Activity {
        let Snapshot { at, rows, coverage, outcomes, limits } = snapshot;
        let mut shown = Shown { at, scope, active_sources: 0 };
        self.answers.fade();
        let rows = match coverage {
            Coverage::All => self.read_whole(rows, &mut shown),
            Coverage::Changed { gone } => self.read_changes(&rows, &gone, &mut shown),
        };
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
        let mut places = std::mem::take(&mut self.spare);
        whole::compare(&begin.whole, &self.whole, |row, place, before| {
            if shown.takes(&row, |_| {}) {
                places.push(row.places(place, before));
            }
        });
        let mut rows = Rows::between(begin.whole, Arc::clone(&self.whole), now.at, places);
        self.changing.compare_with(&begin.changes, |row| {
            if shown.takes(&row, |_| {}) {
                row.add_to(&mut rows);
            }
        });
        let active_sources = shown.active_sources;
        let since = now.since(&begin.totals, begin.elapsed);
        Some(Activity { rows, active_sources, hears_sent: self.answers.are_heard(), ..since })
    }

    /// Takes the rows of an activity that was judged, so that the next ones need not be given memory a page at a time.
    pub fn reuse(&mut self, activity: &mut Activity) {
        self.spare = std::mem::take(&mut activity.rows).into_memory();
    }

    /// The rows to show of a data plane that reads all of its own.
    fn read_whole(&mut self, rows: Vec<(Source, SourceCounters)>, shown: &mut Shown<'_>) -> Rows {
        let mut places = std::mem::take(&mut self.spare);
        let now = whole::follow(&self.whole, rows, |row, place, before| {
            if shown.takes(&row, |activity| self.answers.note(activity)) {
                places.push(row.places(place, before));
            }
        });
        let now = Arc::new(now);
        let before = std::mem::replace(&mut self.whole, Arc::clone(&now));
        Rows::between(before, now, shown.at, places)
    }

    /// The same of one that reads those that changed, and of those that are gone.
    fn read_changes(
        &mut self,
        changed: &[(Source, SourceCounters)],
        gone: &[Source],
        shown: &mut Shown<'_>,
    ) -> Rows {
        let mut rows = Rows::at(shown.at);
        let marks = self.marks.iter_mut().map(|mark| &mut mark.changes);
        self.changing.advance(changed, gone, marks, |row| {
            if shown.takes(&row, |activity| self.answers.note(activity)) {
                row.add_to(&mut rows);
            }
        });
        self.add_silent(&mut rows, shown.scope);
        rows
    }

    /// Adds the watched sources that have no row, because none came with the snapshot.
    fn add_silent(&self, rows: &mut Rows, scope: &Scope<'_>) {
        let seen: FxHashSet<Source> =
            if scope.watched.is_empty() { FxHashSet::default() } else { rows.sources().collect() };
        let silent =
            scope.watched.iter().filter(|source| !seen.contains(source) && !scope.leaves_out(**source));
        for source in silent {
            if let Some(counters) = self.changing.get(*source) {
                rows.push(*source, Some(counters), counters, 0);
            }
        }
    }

    fn mark(&mut self, totals: Totals) {
        let (whole, changes) = (Arc::clone(&self.whole), Since::default());
        self.marks.push_back(Mark { totals, elapsed: Elapsed::default(), whole, changes });
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
        let before = row.same_before();
        let did_something = did_something(before, row.now);
        if did_something {
            let activity =
                SourceActivity::between(before, row.now, row.earlier_port_bits, row.source, self.at);
            noted(&activity);
            self.active_sources += usize::from(activity.change.packets > 0);
        }
        let is_watched = || self.scope.watched.binary_search(&row.source).is_ok();
        (did_something || is_watched()) && !self.scope.leaves_out(row.source)
    }
}

impl Compared<'_> {
    /// What the row was before. One with another birth, or with less in it, was evicted and made anew: all of it is
    /// new.
    fn same_before(&self) -> Option<&SourceCounters> {
        self.before.filter(|before| is_same_row(before, self.now))
    }

    fn places(&self, place: usize, before: Option<usize>) -> Places {
        Places::new(place, self.same_before().and(before))
    }

    fn add_to(&self, rows: &mut Rows) {
        rows.push(self.source, self.same_before(), self.now, self.earlier_port_bits);
    }
}

/// Ports of the epoch before that of `now`, of a row that had `bits` of the epoch before that of `before`.
const fn earlier_port_bits(before: &SourceCounters, bits: u64, now: &SourceCounters) -> u64 {
    if !is_same_row(before, now) {
        return 0;
    }
    match now.ports_epoch.wrapping_sub(before.ports_epoch) {
        0 => bits,
        1 => before.port_bits,
        _ => 0,
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

    #[test]
    fn rows_that_a_snapshot_of_changes_leaves_out_are_remembered() {
        let mut history = History::default();
        let shortest = Duration::from_millis(1);
        let changes = |at_ns, rows, gone: &[u8]| Snapshot {
            coverage: Coverage::Changed { gone: gone.iter().map(|number| row(*number, 0, 0).0).collect() },
            ..snapshot(at_ns, rows)
        };
        history.advance(changes(0, vec![row(1, 10, 0), row(2, 5, 0)], &[]), &Scope::default(), shortest);
        history.advance(changes(1, vec![row(2, 6, 0)], &[]), &Scope::default(), shortest);
        let activity =
            history.advance(changes(2, vec![row(1, 13, 0), row(2, 6, 0)], &[2]), &Scope::default(), shortest);
        assert_eq!(packets_of(&activity), [(1, 3), (2, 6)]);
    }

    #[test]
    fn a_full_snapshot_forgets_who_is_missing() {
        let mut history = History::default();
        for at_ns in 0..3_u8 {
            history.advance(
                snapshot(u64::from(at_ns), vec![row(at_ns, 1, 0)]),
                &Scope::default(),
                Duration::from_millis(1),
            );
            let mut known = Vec::new();
            whole::compare(&Table::default(), &history.whole, |row, _, _| known.push(row.source));
            assert_eq!(known, [row(at_ns, 1, 0).0]);
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
