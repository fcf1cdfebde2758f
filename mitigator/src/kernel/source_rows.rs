//! `SourceRows`: what was counted for each source, read where the program counts it, without a system call per row.
//!
//! Rows are read while packets arrive, which wait for nobody. A row that goes to another source meanwhile is left out.
//! Of most rows only that is looked at which tells whether they changed.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{Ordering, fence};

use anyhow::{Context, Result};
use aya::maps::MapData;
use mitigator_common::{BlockRegion, Seeds, Source, SourceCounters, SourceTable};
use mitigator_ebpf::block_table::LiveLine;
use mitigator_ebpf::counters::{LiveRow, OwnersLine, RowDetails};
use mitigator_ebpf::source_table::{Among, LiveBucket, Memory, find};
use rustc_hash::FxHashSet;

use super::mapped::{Mapped, list_in_large_pages};
use super::maps;
use super::pins::Pins;

const ROWS: u32 = SourceTable::ROWS_PER_BUCKET;
/// Buckets whose rows are mapped at a time at most, 3 MiB, because what is mapped counts as this process's memory: the
/// near ones, which stay mapped, then others that have rows in use.
const PART: u32 = SourceTable::NEAR;
/// Pages that are rather mapped without need than left out: another mapping costs as much.
const GAP_PAGES: u32 = 24;
/// Bytes of a bucket's rows in each of the two maps that have them: powers of two, as pages are.
#[expect(clippy::cast_possible_truncation, reason = "a thousand bytes")]
const LINES_BYTES: u32 = ROWS * size_of::<OwnersLine>() as u32;
#[expect(clippy::cast_possible_truncation, reason = "as above")]
const DETAILS_BYTES: u32 = ROWS * size_of::<RowDetails>() as u32;
const _: () = assert!(LINES_BYTES.is_power_of_two() && DETAILS_BYTES.is_power_of_two());

/// The source table of this installation.
#[derive(Debug)]
pub struct SourceRows {
    table: SourceTable,
    seeds: Seeds,
    buckets: Mapped<LiveBucket>,
    rows: RowMaps,
    /// Of the near buckets, where most are while sources are few.
    near_rows: MappedRows,
    /// Of far buckets, as the last reading of what changed left them: as long as sources are few, the next one finds the
    /// same in use.
    far_rows: Vec<(Range<u32>, MappedRows)>,
    /// So many buckets on, the rows begin a page again in both maps.
    page_step: u32,
    /// So many buckets are rather mapped without need than left out.
    gap: u32,
    /// By row: what tells whether it changed since it was read; 0 for one that never was. Empty before the first
    /// reading.
    seen: Vec<u64>,
}

/// Rows that changed, each with its place in the table.
#[derive(Debug, Default)]
pub struct ChangedRows {
    /// Whose they are, and what was counted.
    pub rows: Vec<(Source, SourceCounters)>,
    /// By row, ascending.
    pub places: Vec<u32>,
}

impl SourceRows {
    /// Opens the pinned maps.
    ///
    /// # Errors
    ///
    /// When they are not pinned or may not be opened.
    pub fn open(pins: &Pins) -> Result<Self> {
        let (buckets, rows) = (open_map(pins, maps::SOURCE_BUCKETS)?, RowMaps::open(pins)?);
        let count = entries(&buckets, maps::SOURCE_BUCKETS)?;
        let buckets = Mapped::new(buckets.fd().as_fd(), 0, count)
            .context("cannot map the memory of the map SOURCE_BUCKETS")?;
        let table = SourceTable::new(count);
        for (map, name) in [(&rows.lines, maps::SOURCE_ROWS), (&rows.details, maps::SOURCE_DETAILS)] {
            let found = entries(map, name)?;
            anyhow::ensure!(
                count > SourceTable::NEAR && found == table.rows(),
                "the map {name} has {found} rows for {count} buckets"
            );
        }
        let near_rows = rows.map(0, PART)?;
        let header = header(pins)?;
        let header = header.header();
        let seeds = Seeds { first: header.first_seed.get(), second: header.second_seed.get() };
        let page = u32::try_from(procfs::page_size())?;
        let page_step = page.div_ceil(LINES_BYTES);
        let gap = GAP_PAGES * page / (LINES_BYTES + DETAILS_BYTES);
        anyhow::ensure!(PART.is_multiple_of(page_step), "pages of {page} bytes are too large");
        let (far_rows, seen) = (Vec::new(), Vec::new());
        Ok(Self { table, seeds, buckets, rows, near_rows, far_rows, page_step, gap, seen })
    }

    /// Tells the program how many buckets there are.
    pub(super) fn prepare(pins: &Pins) -> Result<()> {
        let buckets = entries(&open_map(pins, maps::SOURCE_BUCKETS)?, maps::SOURCE_BUCKETS)?;
        header(pins)?.header().buckets.set(buckets);
        Ok(())
    }

    /// How many rows there are for sources: a quarter more than were asked to fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.table.rows() as usize
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let rows_in_use = |bucket: &LiveBucket| {
            let tags = bucket.tags();
            if tags.are_none() { 0 } else { (0..ROWS).filter(|row| tags.is_in_use(*row)).count() }
        };
        self.buckets.values().iter().map(rows_in_use).sum()
    }

    /// What was counted for one.
    ///
    /// # Errors
    ///
    /// When its row cannot be mapped.
    pub fn get(&self, source: Source) -> Result<Option<SourceCounters>> {
        let place = self.table.place_of(source, self.seeds);
        let part = place.far / PART * PART;
        let far_rows = self.map_part(part)?;
        let memory = Looked { whole: self, far_rows: &far_rows, first_far: part * ROWS };
        let row = find(&memory, source, place, Among::All).and_then(|found| memory.row(found.index()));
        Ok(row.and_then(read).filter(|(found, _)| *found == source).map(|(_, counters)| counters))
    }

    /// All of them, each once, in an order that stays.
    ///
    /// # Errors
    ///
    /// When the rows cannot be mapped.
    pub fn read_all(&self) -> Result<Vec<(Source, SourceCounters)>> {
        let mut found = list_in_large_pages(self.count());
        self.each_in_use(Vec::new(), |in_use| found.extend(in_use.read()))?;
        Ok(found)
    }

    /// Those in which a packet was counted since the last such reading, and those of `watched`. The first reading has
    /// all.
    ///
    /// # Errors
    ///
    /// When the rows cannot be mapped.
    pub fn read_changed(&mut self, watched: &[Source]) -> Result<ChangedRows> {
        let mut seen = std::mem::take(&mut self.seen);
        let mut changed = ChangedRows::default();
        if seen.is_empty() {
            seen.resize(self.capacity(), 0);
            changed.rows.reserve_exact(self.count());
        }
        let watched: FxHashSet<Source> = watched.iter().copied().collect();
        let is_watched = |row: LiveRow<'_>| !watched.is_empty() && watched.contains(&row.source());
        let far_rows = std::mem::take(&mut self.far_rows);
        let read = self.each_in_use(far_rows, |in_use| {
            let Some(seen) = seen.get_mut(in_use.index as usize) else { return };
            // Before the numbers: what is counted meanwhile is read once more.
            let fingerprint = in_use.row.fingerprint();
            if fingerprint == *seen && !is_watched(in_use.row) {
                return;
            }
            if let Some((source, counters)) = in_use.read() {
                *seen = fingerprint;
                changed.rows.push((source, counters));
                changed.places.push(in_use.index);
            }
        });
        match read {
            Ok(far_rows) => self.far_rows = far_rows,
            Err(error) => {
                self.forget_reading(seen, &changed);
                return Err(error);
            }
        }
        self.seen = seen;
        Ok(changed)
    }

    /// What was read and reached nobody is read again; after a first reading that failed, all is.
    fn forget_reading(&mut self, mut seen: Vec<u64>, changed: &ChangedRows) {
        for place in &changed.places {
            if let Some(seen) = seen.get_mut(*place as usize) {
                *seen = 0;
            }
        }
        let is_first = seen.iter().all(|seen| *seen == 0);
        self.seen = if is_first { Vec::new() } else { seen };
    }

    /// Calls `each` for every row in use, in their order. Takes what is mapped of far rows, and returns what may stay so.
    fn each_in_use(
        &self,
        far_rows: Vec<(Range<u32>, MappedRows)>,
        mut each: impl FnMut(InUse<'_>),
    ) -> Result<Vec<(Range<u32>, MappedRows)>> {
        let buckets = self.buckets.values();
        let (near, _) = buckets.split_at(buckets.len().min(PART as usize));
        in_use(near, &self.near_rows, 0).for_each(&mut each);
        let mut mapped = far_rows.into_iter().peekable();
        let (mut kept, mut kept_buckets) = (Vec::new(), 0);
        for part in self.parts() {
            while mapped.next_if(|(other, _)| other.start < part.start).is_some() {}
            let rows = match mapped.next_if(|(other, _)| *other == part) {
                Some((_, rows)) => rows,
                None => self.rows.map(part.start, part.end - part.start)?,
            };
            let far = buckets.get(part.start as usize..part.end as usize).unwrap_or_default();
            in_use(far, &rows, part.start).for_each(&mut each);
            if kept_buckets + part.end - part.start <= PART {
                kept_buckets += part.end - part.start;
                kept.push((part, rows));
            }
        }
        Ok(kept)
    }

    /// The far buckets that have rows in use, and some between them: as they are to be mapped.
    fn parts(&self) -> Vec<Range<u32>> {
        let mut parts: Vec<Range<u32>> = Vec::new();
        let far = self.buckets.values().get(PART as usize..).unwrap_or_default();
        for (buckets, start) in
            far.chunks(self.page_step as usize).zip((PART..).step_by(self.page_step as usize))
        {
            if buckets.iter().all(|bucket| bucket.tags().are_none()) {
                continue;
            }
            let end = (start + self.page_step).min(PART + u32::try_from(far.len()).unwrap_or(u32::MAX));
            match parts.last_mut() {
                Some(part) if start - part.end <= self.gap && end - part.start <= PART => part.end = end,
                _ => parts.push(start..end),
            }
        }
        parts
    }

    /// Forgets them all. Only where no packet arrives.
    pub fn clear(&self) {
        self.buckets.values().iter().for_each(LiveBucket::clear);
    }

    /// The rows of the buckets from `first` on, as many as are mapped at a time.
    fn map_part(&self, first: u32) -> Result<MappedRows> {
        let left = u32::try_from(self.buckets.values().len())?.saturating_sub(first);
        self.rows.map(first, left.min(PART))
    }
}

/// The two maps that have the rows.
#[derive(Debug)]
struct RowMaps {
    lines: MapData,
    details: MapData,
}

impl RowMaps {
    fn open(pins: &Pins) -> Result<Self> {
        Ok(Self { lines: open_map(pins, maps::SOURCE_ROWS)?, details: open_map(pins, maps::SOURCE_DETAILS)? })
    }

    /// The rows of some buckets.
    fn map(&self, first_bucket: u32, buckets: u32) -> Result<MappedRows> {
        let (first, count) = (first_bucket * ROWS, buckets * ROWS);
        Ok(MappedRows {
            lines: Mapped::new(self.lines.fd().as_fd(), first, count)
                .context("cannot map the memory of the map SOURCE_ROWS")?,
            details: Mapped::new(self.details.fd().as_fd(), first, count)
                .context("cannot map the memory of the map SOURCE_DETAILS")?,
        })
    }
}

/// Rows in this process's memory.
#[derive(Debug)]
struct MappedRows {
    lines: Mapped<OwnersLine>,
    details: Mapped<RowDetails>,
}

/// The table with the rows of one part of the far buckets.
struct Looked<'t> {
    whole: &'t SourceRows,
    far_rows: &'t MappedRows,
    first_far: u32,
}

impl<'t> Memory<'t> for Looked<'t> {
    fn bucket(&self, index: u32) -> Option<&'t LiveBucket> {
        self.whole.buckets.values().get(index as usize)
    }

    fn line(&self, index: u32) -> Option<&'t OwnersLine> {
        let (rows, place) = self.rows_with(index);
        rows.lines.values().get(place as usize)
    }

    fn details(&self, index: u32) -> Option<&'t RowDetails> {
        let (rows, place) = self.rows_with(index);
        rows.details.values().get(place as usize)
    }
}

impl<'t> Looked<'t> {
    /// Those among which a row is, and its place there.
    fn rows_with(&self, index: u32) -> (&'t MappedRows, u32) {
        match index.checked_sub(self.first_far) {
            Some(place) => (self.far_rows, place),
            None => (&self.whole.near_rows, index),
        }
    }
}

/// A row that was in use.
struct InUse<'t> {
    bucket: &'t LiveBucket,
    row: LiveRow<'t>,
    /// Which of its bucket.
    number: u32,
    /// Among all rows.
    index: u32,
}

impl InUse<'_> {
    fn read(&self) -> Option<(Source, SourceCounters)> {
        // Again afterwards: it may have begun to go to another source.
        read(self.row).filter(|_| self.bucket.tags().is_in_use(self.number))
    }
}

/// The rows in use of some buckets, of which the first is the bucket `first`. Which they are is found out first, so that
/// whoever goes through them has no branch to guess, and the processor fetches several rows at a time: they lie far apart.
fn in_use<'t>(
    buckets: &'t [LiveBucket],
    rows: &'t MappedRows,
    first: u32,
) -> impl Iterator<Item = InUse<'t>> {
    let (lines, details) = (rows.lines.values(), rows.details.values());
    let mut places: Vec<(u32, u32)> = Vec::new();
    for (bucket, place) in buckets.iter().zip(0..) {
        let tags = bucket.tags();
        if !tags.are_none() {
            places.extend((0..ROWS).filter(|number| tags.is_in_use(*number)).map(|number| (place, number)));
        }
    }
    places.into_iter().filter_map(move |(place, number)| {
        let (bucket, row) = (buckets.get(place as usize)?, (place * ROWS + number) as usize);
        let row = LiveRow::new(lines.get(row)?, details.get(row)?);
        Some(InUse { bucket, row, number, index: (first + place) * ROWS + number })
    })
}

/// A row and whose it is, unless it goes to another source meanwhile.
fn read(row: LiveRow<'_>) -> Option<(Source, SourceCounters)> {
    let source = row.source();
    let counters = row.totals();
    fence(Ordering::Acquire);
    (source != Source::BEING_MADE && row.source() == source).then_some((source, counters))
}

fn header(pins: &Pins) -> Result<Mapped<LiveLine>> {
    let map = open_map(pins, maps::BLOCK_TABLE)?;
    Mapped::new(map.fd().as_fd(), 0, BlockRegion::FIRST_LINE)
        .context("cannot map the memory of the map BLOCK_TABLE")
}

fn open_map(pins: &Pins, name: &str) -> Result<MapData> {
    let path = pins.maps().join(name);
    MapData::from_pin(&path).with_context(|| format!("cannot open the map at {}", path.display()))
}

fn entries(map: &MapData, name: &str) -> Result<u32> {
    Ok(map.info().with_context(|| format!("cannot ask the kernel about the map {name}"))?.max_entries())
}
