//! `SourceRows`: what was counted for each source, read where the program counts it, without a system call per row.
//!
//! Rows are read while packets arrive, which wait for nobody. A row that goes to another source meanwhile is left out.

use std::os::fd::AsFd;
use std::sync::atomic::{Ordering, fence};

use anyhow::{Context, Result};
use aya::maps::MapData;
use mitigator_common::{BlockRegion, Seeds, Source, SourceCounters, SourceTable};
use mitigator_ebpf::block_table::LiveLine;
use mitigator_ebpf::counters::LiveRow;
use mitigator_ebpf::source_table::{Among, LiveBucket, Memory, find};

use super::mapped::Mapped;
use super::maps;
use super::pins::Pins;

const ROWS: u32 = SourceTable::ROWS_PER_BUCKET;
/// Buckets whose rows are mapped at a time, 3 MiB, because what is mapped counts as this process's memory: the near ones,
/// then as many others. They begin a page, whatever size pages have (64 KiB at most).
const PART: u32 = SourceTable::NEAR;
const _: () = assert!(((PART * ROWS) as usize * size_of::<LiveRow>()).is_multiple_of(64 << 10));

/// The source table of this installation.
#[derive(Debug)]
pub struct SourceRows {
    table: SourceTable,
    seeds: Seeds,
    buckets: Mapped<LiveBucket>,
    rows: MapData,
    /// Of the near buckets, where most are while sources are few.
    near_rows: Mapped<LiveRow>,
}

impl SourceRows {
    /// Opens the pinned maps.
    ///
    /// # Errors
    ///
    /// When they are not pinned or may not be opened.
    pub fn open(pins: &Pins) -> Result<Self> {
        let (buckets, rows) = (open_map(pins, maps::SOURCE_BUCKETS)?, open_map(pins, maps::SOURCE_ROWS)?);
        let count = entries(&buckets, maps::SOURCE_BUCKETS)?;
        let buckets = Mapped::new(buckets.fd().as_fd(), 0, count)
            .context("cannot map the memory of the map SOURCE_BUCKETS")?;
        let table = SourceTable::new(count);
        let found = entries(&rows, maps::SOURCE_ROWS)?;
        anyhow::ensure!(
            count > SourceTable::NEAR && found == table.rows(),
            "the map SOURCE_ROWS has {found} rows for {count} buckets"
        );
        let near_rows = map_rows(&rows, 0, PART)?;
        let header = header(pins)?;
        let header = header.header();
        let seeds = Seeds { first: header.first_seed.get(), second: header.second_seed.get() };
        Ok(Self { table, seeds, buckets, rows, near_rows })
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
        let mut found = Vec::with_capacity(self.count());
        for (buckets, first) in self.buckets.values().chunks(PART as usize).zip((0..).step_by(PART as usize))
        {
            if first == 0 {
                read_part(buckets, self.near_rows.values(), &mut found);
            } else if buckets.iter().any(|bucket| !bucket.tags().are_none()) {
                read_part(buckets, self.map_part(first)?.values(), &mut found);
            }
        }
        Ok(found)
    }

    /// Forgets them all. Only where no packet arrives.
    pub fn clear(&self) {
        self.buckets.values().iter().for_each(LiveBucket::clear);
    }

    /// The rows of the buckets from `first` on, as many as are mapped at a time.
    fn map_part(&self, first: u32) -> Result<Mapped<LiveRow>> {
        let left = u32::try_from(self.buckets.values().len())?.saturating_sub(first);
        map_rows(&self.rows, first, left.min(PART))
    }
}

/// The table with the rows of one part of the far buckets.
struct Looked<'t> {
    whole: &'t SourceRows,
    far_rows: &'t Mapped<LiveRow>,
    first_far: u32,
}

impl<'t> Memory<'t> for Looked<'t> {
    fn bucket(&self, index: u32) -> Option<&'t LiveBucket> {
        self.whole.buckets.values().get(index as usize)
    }

    fn row(&self, index: u32) -> Option<&'t LiveRow> {
        match index.checked_sub(self.first_far) {
            Some(place) => self.far_rows.values().get(place as usize),
            None => self.whole.near_rows.values().get(index as usize),
        }
    }
}

fn read_part(buckets: &[LiveBucket], rows: &[LiveRow], found: &mut Vec<(Source, SourceCounters)>) {
    for (bucket, rows) in buckets.iter().zip(rows.chunks(ROWS as usize)) {
        let tags = bucket.tags();
        if !tags.are_none() {
            let in_use = rows.iter().zip(0..).filter(|(_, row)| tags.is_in_use(*row));
            // Again afterwards: it may have begun to go to another source.
            found.extend(
                in_use.filter_map(|(row, place)| read(row).filter(|_| bucket.tags().is_in_use(place))),
            );
        }
    }
}

/// A row and whose it is, unless it goes to another source meanwhile.
fn read(row: &LiveRow) -> Option<(Source, SourceCounters)> {
    let source = row.source();
    let counters = row.totals();
    fence(Ordering::Acquire);
    (source != Source::BEING_MADE && row.source() == source).then_some((source, counters))
}

fn map_rows(map: &MapData, first_bucket: u32, buckets: u32) -> Result<Mapped<LiveRow>> {
    Mapped::new(map.fd().as_fd(), first_bucket * ROWS, buckets * ROWS)
        .context("cannot map the memory of the map SOURCE_ROWS")
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
