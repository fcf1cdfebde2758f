//! The rows as last seen, by their places, and what those that changed were when a window began.
//!
//! What a snapshot brings stays as it came, a table for each, for as long as a row in it is the latest of its source or
//! a window begins with it. Rows that nobody has changed for a window are packed, so that memory goes by those who send;
//! what a quiet one costs is that.

use std::collections::VecDeque;
use std::sync::Arc;

use mitigator_common::{Source, SourceCounters};

use super::Compared;
use super::settled::{self, Settled, Slot};
use crate::pipeline::keyed::KeyedMap;
use crate::pipeline::rows::{Pair, Table, Version, has_changed, is_same_row};
use crate::pipeline::snapshot::Order;

/// Rows that are packed at a time, at most: no tick waits for more.
const MOST_PACKED: usize = 65_536;
/// From here on, tables of versions stand for sizes of packed rows: there are never so many others.
const FIRST_SIZE: u32 = 1 << 31;

/// The rows as last seen.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By place.
    latest: Vec<Version>,
    tables: Vec<Kept>,
    /// The same, as activities have them.
    shared: Vec<Arc<Table>>,
    settled: Settled,
    /// Where sources stand that come without a place.
    places: KeyedMap<Source, u32>,
    /// The latest one last, each with the number of the snapshot that told that it is free.
    free_places: VecDeque<(u64, u32)>,
    /// Snapshots so far.
    snapshots: u64,
}

/// What is known of a table.
#[derive(Debug, Default)]
struct Kept {
    /// The number of the snapshot that brought it.
    snapshot: u64,
    /// By row. Empty in one that holds earlier versions alone.
    places: Vec<u32>,
    /// Rows that are the latest of their places.
    latest: usize,
    /// Rows that windows begin with.
    marked: usize,
    /// Rows before this one are packed, or not the latest.
    packed: usize,
}

/// What rows were at a moment: each that changed since.
#[derive(Debug, Default)]
pub(super) struct Since {
    /// The last snapshot before.
    snapshot: u64,
    /// By place, in the order in which they changed first.
    before: Vec<(u32, Version)>,
}

impl Known {
    /// From now on.
    pub(super) const fn mark(&self) -> Since {
        Since { snapshot: self.snapshots, before: Vec::new() }
    }

    /// Takes in the rows of a snapshot; notes in `marks` what those were that changed, and calls `each` for all of them:
    /// in the order of their places, or else of their sources.
    pub(super) fn advance<'a>(
        &mut self,
        mut rows: Vec<(Source, SourceCounters)>,
        order: Order,
        marks: impl Iterator<Item = &'a mut Since>,
        mut each: impl FnMut(Compared<'_>, Pair),
    ) -> Vec<Arc<Table>> {
        let mut marks: Vec<&mut Since> = marks.collect();
        self.snapshots += 1;
        let places = match order {
            Order::ByPlace(places) => places,
            Order::BySource { gone } => {
                gone.iter().for_each(|source| self.forget(*source));
                rows.sort_unstable_by_key(|(source, _)| *source);
                // A place that changed since a window began still stands for who was there.
                let earliest = marks.iter().map(|mark| mark.snapshot).min().unwrap_or(self.snapshots);
                rows.iter().map(|(source, _)| self.place_of(*source, earliest)).collect()
            }
        };
        let rooms = places.iter().max().map_or(0, |most| *most as usize + 1);
        self.latest.resize(self.latest.len().max(rooms), Version::NONE);
        let table = self.room(None);
        let unpacked_table = self.room(Some(table));
        let mut unpacked = Table::default();
        let mut earlier_bits = vec![0; rows.len()];
        let mut changed = 0;
        for (index, ((source, now), place)) in rows.iter().zip(&places).enumerate() {
            let Some(latest) = self.latest.get_mut(*place as usize) else { continue };
            let (was, version) = (*latest, Version::new(table, index));
            let packed_row = slot_of(was).and_then(|slot| self.settled.get(slot));
            let known = match &packed_row {
                Some(row) => Some((row.source, &row.counters, row.earlier_port_bits)),
                None => was.of(&self.shared).map(|(source, counters)| {
                    (*source, counters, was.earlier_port_bits(&self.shared).unwrap_or(0))
                }),
            };
            let known = known.filter(|(known, ..)| known == source);
            let bits = known.map_or(0, |(_, before, bits)| earlier_port_bits(before, bits, now));
            if let Some(place) = earlier_bits.get_mut(index) {
                *place = bits;
            }
            let before = known.map(|(_, before, _)| before).filter(|before| is_same_row(before, now));
            let compared = Compared { source: *source, before, now, earlier_port_bits: bits };
            if !has_changed(before, now) {
                let before = if before.is_some() { version } else { Version::NONE };
                each(compared, Pair { now: version, before });
                continue;
            }
            // Whose row was made anew, or belonged to another, began with none.
            let mut before = if before.is_some() { was } else { Version::NONE };
            each(
                compared,
                Pair {
                    now: version,
                    before: if before != Version::NONE && packed_row.is_some() {
                        Version::new(unpacked_table, unpacked.rows.len())
                    } else {
                        before
                    },
                },
            );
            *latest = version;
            changed += 1;
            let first_since = match packed_row {
                Some(row) => {
                    slot_of(was).into_iter().for_each(|slot| self.settled.free(slot));
                    if before != Version::NONE {
                        before = Version::new(unpacked_table, unpacked.rows.len());
                        unpacked.push((row.source, row.counters), row.earlier_port_bits);
                    }
                    0
                }
                None => self.tables.get_mut(was.table as usize).map_or(0, |kept| {
                    kept.latest -= 1;
                    kept.snapshot
                }),
            };
            for mark in marks.iter_mut().filter(|mark| first_since <= mark.snapshot) {
                mark.before.push((*place, before));
                if let Some(kept) = self.tables.get_mut(before.table as usize) {
                    kept.marked += 1;
                }
            }
        }
        self.shared[table] = Arc::new(Table { rows, earlier_port_bits: earlier_bits });
        self.shared[unpacked_table] = Arc::new(unpacked);
        let snapshot = self.snapshots;
        let kept = &mut self.tables[table];
        (kept.snapshot, kept.latest, kept.places, kept.packed) = (snapshot, changed, places, 0);
        self.tables[unpacked_table].snapshot = snapshot - 1;
        let tables = self.shared.clone();
        self.drop_unused();
        tables
    }

    /// Calls `each` for every row that changed since `mark`, in the order in which they did first, or else of their sources.
    pub(super) fn compare_with(&self, mark: &Since, mut each: impl FnMut(Compared<'_>, Pair)) {
        let source_at = |place: u32| {
            let latest = self.latest.get(place as usize)?;
            latest.of(&self.shared).map(|(source, _)| *source)
        };
        let mut in_order = Vec::new();
        if !self.places.is_empty() {
            in_order.clone_from(&mark.before);
            in_order.sort_by_cached_key(|(place, _)| source_at(*place));
        }
        let rows = if in_order.is_empty() { &mark.before } else { &in_order };
        for (place, before) in rows {
            let Some(now) = self.latest.get(*place as usize).copied() else { continue };
            if let Some((source, counters)) = now.of(&self.shared) {
                let earlier = before.of(&self.shared).filter(|(earlier, _)| earlier == source);
                let earlier_port_bits = now.earlier_port_bits(&self.shared).unwrap_or(0);
                let earlier =
                    earlier.map(|(_, counters)| counters).filter(|earlier| is_same_row(earlier, counters));
                let before = if earlier.is_some() { *before } else { Version::NONE };
                let row = Compared { source: *source, before: earlier, now: counters, earlier_port_bits };
                each(row, Pair { now, before });
            }
        }
    }

    /// The tables that versions are of.
    pub(super) fn tables(&self) -> Vec<Arc<Table>> {
        self.shared.clone()
    }

    /// Forgets what the rows were at a moment, and packs what has not changed since an `earliest` one: no window that is
    /// to come begins earlier.
    pub(super) fn end(&mut self, mark: &Since, earliest: &Since) {
        for (_, version) in &mark.before {
            if let Some(kept) = self.tables.get_mut(version.table as usize) {
                kept.marked -= 1;
            }
        }
        let mut old: Vec<(usize, usize)> = (0..)
            .zip(&self.tables)
            .filter(|(_, kept)| kept.latest > 0 && kept.snapshot <= earliest.snapshot)
            .map(|(table, kept)| (kept.latest, table))
            .collect();
        // The table with the fewest rows to pack first: it costs the least to be rid of it.
        old.sort_unstable();
        let mut left = MOST_PACKED;
        for (_, table) in old {
            self.pack(table, &mut left);
        }
        self.drop_unused();
    }

    /// How many rows are packed.
    #[cfg(test)]
    pub(super) fn packed_rows(&self) -> usize {
        self.latest.iter().filter(|latest| slot_of(**latest).is_some()).count()
    }

    fn pack(&mut self, table: usize, left: &mut usize) {
        let Some(kept) = self.tables.get_mut(table) else { return };
        while *left > 0 && kept.latest > 0 {
            let index = kept.packed;
            let version = Version::new(table, index);
            let (Some(place), Some((source, counters))) = (kept.places.get(index), version.of(&self.shared))
            else {
                return;
            };
            kept.packed += 1;
            if let Some(latest) = self.latest.get_mut(*place as usize).filter(|latest| **latest == version) {
                let earlier_port_bits = version.earlier_port_bits(&self.shared).unwrap_or(0);
                let row = settled::Row { source: *source, counters: *counters, earlier_port_bits };
                let Slot { size, index } = self.settled.put(&row);
                *latest = Version { table: FIRST_SIZE + size, row: index };
                kept.latest -= 1;
                *left -= 1;
            }
        }
    }

    /// Where there is room for a table, other than `taken`.
    fn room(&mut self, taken: Option<usize>) -> usize {
        let is_free = |table: &usize| {
            let kept = &self.tables[*table];
            Some(*table) != taken && kept.latest == 0 && kept.marked == 0
        };
        if let Some(free) = (0..self.tables.len()).find(is_free) {
            return free;
        }
        self.tables.push(Kept::default());
        self.shared.push(Arc::default());
        self.tables.len() - 1
    }

    fn drop_unused(&mut self) {
        for (kept, table) in self.tables.iter_mut().zip(&mut self.shared) {
            if kept.latest == 0 && kept.marked == 0 && !table.rows.is_empty() {
                (*kept, *table) = (Kept::default(), Arc::default());
            }
        }
    }

    /// The place of a source, or one that was free at the snapshot `earliest` or before.
    fn place_of(&mut self, source: Source, earliest: u64) -> u32 {
        let Self { places, free_places, .. } = self;
        let next = u32::try_from(places.len() + free_places.len()).unwrap_or(u32::MAX);
        let mut free = || free_places.pop_front_if(|(since, _)| *since <= earliest).map(|(_, place)| place);
        *places.entry(source).or_insert_with(|| free().unwrap_or(next))
    }

    /// A source that has no row any more. If it comes back, it is with another.
    fn forget(&mut self, source: Source) {
        let Some(place) = self.places.remove(&source) else { return };
        self.free_places.push_back((self.snapshots, place));
        let Some(latest) = self.latest.get_mut(place as usize) else { return };
        let was = std::mem::replace(latest, Version::NONE);
        match slot_of(was) {
            Some(slot) => self.settled.free(slot),
            None => {
                if let Some(kept) = self.tables.get_mut(was.table as usize) {
                    kept.latest -= 1;
                }
            }
        }
    }
}

/// Where a packed row is.
fn slot_of(version: Version) -> Option<Slot> {
    let size = version.table.checked_sub(FIRST_SIZE).filter(|_| version != Version::NONE)?;
    Some(Slot { size, index: version.row })
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
