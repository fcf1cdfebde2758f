//! `BlockedSources`: the block table, written in place, and the hash for the few that find no place in it.
//!
//! Who writes holds the lock of [`Pins`]. Who makes the table larger or clears away what was taken back holds
//! [`Pins::lock_upkeep`] too, for longer: it waits for packets, and for that time lets others write.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use aya::maps::MapData;
use mitigator_common::{BlockEntry, BlockMark, BlockRegion, BlockTerms, PlacedBlock, Seeds, Source};
use mitigator_ebpf::block_table::{
    Choice, LiveHeader, LiveHits, LiveLine, LiveMarks, Memory, Place, Standing, can_stand_in_a_line, find,
};
use mitigator_ebpf::block_writing::CountedPlace;

use super::jiffies::JiffyClock;
use super::mapped::{Mapped, wait_for_packets};
use super::maps;
use super::pins::Pins;
use super::table::Table;

/// The block table of this installation.
#[derive(Debug)]
pub(super) struct BlockedSources {
    pins: Pins,
    map: MapData,
    map_lines: u32,
    header: Arc<Mapped<LiveLine>>,
    hits_map: MapData,
    marks_map: MapData,
    in_use: Mutex<Option<Arc<InUse>>>,
    overflow: Table<Source, PlacedBlock>,
}

/// The table in use, which is another one after it grew.
#[derive(Debug)]
pub(super) struct InUse {
    region: BlockRegion,
    seeds: Seeds,
    header: Arc<Mapped<LiveLine>>,
    lines: Mapped<LiveLine>,
    /// For each line.
    hits: Mapped<LiveHits>,
    /// For every four lines.
    marks: Mapped<LiveMarks>,
}

/// Why a block was not written.
#[derive(Debug)]
pub(super) enum NotWritten {
    /// As many stand as were asked to fit.
    Full,
    /// Too many of the same lines: the table is to grow.
    Crowded,
    /// The kernel refused.
    Failed(anyhow::Error),
}

/// What was cleared away.
pub(super) struct Cleared {
    /// Blocks that were over.
    pub(super) over: usize,
    /// Places that others can take.
    pub(super) freed: usize,
}

/// As the header counts.
pub(super) fn count_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl BlockedSources {
    pub(super) fn open(pins: &Pins) -> Result<Self> {
        let directory = pins.maps();
        let open = |name: &str| {
            let path = directory.join(name);
            MapData::from_pin(&path).with_context(|| format!("cannot open the map at {}", path.display()))
        };
        let map = open(maps::BLOCK_TABLE)?;
        let map_lines = map.info().context("cannot ask the kernel about the map BLOCK_TABLE")?.max_entries();
        let header = Mapped::new(map.fd().as_fd(), 0, BlockRegion::FIRST_LINE)
            .context("cannot map the memory of the map BLOCK_TABLE")?;
        Ok(Self {
            pins: pins.clone(),
            map,
            map_lines,
            header: Arc::new(header),
            hits_map: open(maps::BLOCK_HITS)?,
            marks_map: open(maps::BLOCK_MARKS)?,
            in_use: Mutex::new(None),
            overflow: Table::open(&directory, maps::BLOCK_OVERFLOW)?,
        })
    }

    /// Makes a table that was just made ready for so many entries.
    pub(super) fn prepare(pins: &Pins, capacity: u32) -> Result<()> {
        let table = Self::open(pins)?;
        let _lock = pins.lock()?;
        let header = table.header();
        if header.first_seed.get() != 0 {
            return Ok(());
        }
        let mut secret = [0_u64; 2];
        rustix::rand::getrandom(
            bytemuck::cast_slice_mut::<u64, u8>(&mut secret),
            rustix::rand::GetRandomFlags::empty(),
        )
        .context("the kernel gives no random numbers")?;
        let seeds = Seeds::from_random(secret);
        table.header.writer_state().capacity.set(capacity);
        header.region.set(BlockRegion::new(BlockRegion::FIRST_LINE, BlockRegion::LEAST_LINES).bits());
        header.second_seed.set(seeds.second);
        header.first_seed.publish(seeds.first);
        Ok(())
    }

    /// Lets the program tell the time by jiffies.
    pub(super) fn set_clock(pins: &Pins, clock: JiffyClock) -> Result<()> {
        let table = Self::open(pins)?;
        table.header().jiffy_zero_ns.set(clock.zero_ns);
        table.header().tick_ns.publish(clock.tick_ns);
        Ok(())
    }

    pub(super) fn header(&self) -> &LiveHeader {
        self.header.header()
    }

    /// How many entries are asked to fit.
    pub(super) fn capacity(&self) -> usize {
        self.header.writer_state().capacity.get() as usize
    }

    /// How many there are, those that are over included.
    pub(super) fn count(&self) -> usize {
        self.header().sources.get() as usize
    }

    /// The table in use, which stays that under the lock of the writers.
    pub(super) fn in_use(&self) -> Result<Arc<InUse>> {
        let header = self.header();
        let region = BlockRegion::from_bits(header.region.consult());
        let mut known = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(known) if known.region == region => Ok(Arc::clone(known)),
            _ => {
                let fresh = Arc::new(self.map_region(region)?);
                *known = Some(Arc::clone(&fresh));
                Ok(fresh)
            }
        }
    }

    fn map_region(&self, region: BlockRegion) -> Result<InUse> {
        let lines = Mapped::new(self.map.fd().as_fd(), region.first(), region.lines())
            .context("cannot map the memory of the map BLOCK_TABLE")?;
        // All of the map would count as this process's memory.
        let hits = Mapped::new(self.hits_map.fd().as_fd(), region.first(), region.lines())
            .context("cannot map the memory of the map BLOCK_HITS")?;
        let words = BlockRegion::words_for(region.lines());
        let marks = Mapped::new(self.marks_map.fd().as_fd(), region.first_word(), words)
            .context("cannot map the memory of the map BLOCK_MARKS")?;
        let header = self.header();
        let seeds = Seeds { first: header.first_seed.get(), second: header.second_seed.get() };
        Ok(InUse { region, seeds, header: Arc::clone(&self.header), lines, hits, marks })
    }

    /// The block of a source, over or not.
    pub(super) fn get(&self, source: Source) -> Result<Option<BlockEntry>> {
        loop {
            let in_use = self.in_use()?;
            let found = match in_use.find(source) {
                Standing::InLine(place) => place.block.terms().entry(in_use.counted(place).hits()),
                Standing::MaybeOverflowing => {
                    self.overflowing(source)?.and_then(|block| block.terms.entry(block.hits))
                }
                Standing::Nowhere => None,
            };
            // What was read may have been wiped by somebody who made another table.
            if self.in_use()?.region == in_use.region {
                return Ok(found);
            }
        }
    }

    fn read_overflow(&self) -> Result<Vec<(Source, PlacedBlock)>> {
        if self.header().overflowing.get() == 0 { Ok(Vec::new()) } else { self.overflow.read_all() }
    }

    fn overflowing(&self, source: Source) -> Result<Option<PlacedBlock>> {
        if self.header().overflowing.get() == 0 { Ok(None) } else { self.overflow.get(&source) }
    }

    /// Every block, over or not, in no order.
    pub(super) fn read_all(&self) -> Result<Vec<(Source, BlockEntry)>> {
        let mut found = Vec::new();
        if self.count() == 0 {
            return Ok(found);
        }
        loop {
            let in_use = self.in_use()?;
            found.clear();
            found.reserve(self.count());
            for place in in_use.places() {
                let Some(source) = place.block.source() else {
                    continue;
                };
                let entry = place.block.terms().entry(place.hits());
                // Another one may have its place by now.
                if let Some(entry) = entry.filter(|_| place.block.source() == Some(source)) {
                    found.push((source, entry));
                }
            }
            for (source, block) in self.read_overflow()? {
                let entry = block.terms.entry(block.hits);
                if let Some(entry) = entry.filter(|_| in_use.may_overflow(source)) {
                    found.push((source, entry));
                }
            }
            if self.in_use()?.region == in_use.region {
                return Ok(found);
            }
        }
    }

    /// Makes room for so many more, as far as the capacity goes. Not to be called under the lock of the writers.
    pub(super) fn reserve(&self, more: usize) -> Result<()> {
        let wanted = self.count().saturating_add(more).min(self.capacity());
        let lines = BlockRegion::lines_for(u32::try_from(wanted).unwrap_or(u32::MAX));
        self.grow_to(|region| (region.lines() < lines).then_some(lines)).map(drop)
    }

    /// Twice the room; `false` when there is no more. Not to be called under the lock of the writers.
    pub(super) fn double(&self) -> Result<bool> {
        let lines = self.in_use()?.region.lines().saturating_mul(2);
        self.grow_to(|region| (region.lines() < lines).then_some(lines))
    }

    /// Writes a block, in place of an older one. Under the lock.
    pub(super) fn put(&self, in_use: &InUse, source: Source, terms: BlockTerms) -> Result<(), NotWritten> {
        match in_use.find(source) {
            Standing::InLine(place) => {
                if place.block.terms() == BlockTerms::NONE {
                    self.count_another()?;
                }
                in_use.counted(place).renew(terms);
                return Ok(());
            }
            Standing::MaybeOverflowing => {
                if self.overflowing(source).map_err(NotWritten::Failed)?.is_some() {
                    return self.overflow(source, terms);
                }
            }
            Standing::Nowhere => {}
        }
        self.count_another()?;
        let written = match in_use.mark_and_find_place(source) {
            Some(place) => {
                place.put(source, terms);
                Ok(())
            }
            None => {
                self.header().overflowing.add(1);
                self.overflow(source, terms)
            }
        };
        if written.is_err() {
            self.header().sources.add(u32::MAX);
        }
        written
    }

    /// Counted before it is written, so that it is looked up from its first packet on.
    fn count_another(&self) -> Result<(), NotWritten> {
        if self.count() >= self.capacity() {
            return Err(NotWritten::Full);
        }
        self.header().sources.add(1);
        Ok(())
    }

    fn overflow(&self, source: Source, terms: BlockTerms) -> Result<(), NotWritten> {
        self.overflow.insert(&source, &PlacedBlock { source, terms, hits: 0 }).map_err(|error| {
            let in_it = self.overflow.read_all().map_or(0, |blocks| blocks.len());
            if in_it < self.overflow.capacity() { NotWritten::Failed(error) } else { NotWritten::Crowded }
        })
    }

    /// Whether the kernel finds a block of these terms.
    pub(super) fn holds(&self, in_use: &InUse, source: Source, terms: BlockTerms) -> Result<bool> {
        Ok(match in_use.find(source) {
            Standing::InLine(place) => place.block.terms() == terms,
            Standing::MaybeOverflowing => self.overflowing(source)?.is_some_and(|block| block.terms == terms),
            Standing::Nowhere => false,
        })
    }

    /// Changes the terms of a block that stands, and keeps its hits; but those of an overflowing one that arrive at
    /// this moment are not counted. Under the lock.
    pub(super) fn change(&self, source: Source, terms: BlockTerms) -> Result<()> {
        match self.in_use()?.find(source) {
            Standing::InLine(place) => place.block.change(terms),
            Standing::MaybeOverflowing => {
                if let Some(block) = self.overflowing(source)? {
                    self.overflow.insert(&source, &PlacedBlock { terms, ..block })?;
                }
            }
            Standing::Nowhere => {}
        }
        Ok(())
    }

    /// Takes a block back; `false` when there was none. Under the lock.
    pub(super) fn take_back(&self, source: Source) -> Result<bool> {
        let is_taken = match self.in_use()?.find(source) {
            Standing::InLine(Place { block, .. }) => {
                let stands = block.terms() != BlockTerms::NONE;
                block.take_back();
                stands
            }
            Standing::MaybeOverflowing if self.header().overflowing.get() != 0 => {
                let stood = self.overflow.remove(&source)?;
                if stood {
                    self.header().overflowing.add(u32::MAX);
                }
                stood
            }
            Standing::MaybeOverflowing | Standing::Nowhere => false,
        };
        if is_taken {
            self.header().sources.add(u32::MAX);
        }
        Ok(is_taken)
    }

    /// Takes back the blocks that are over at `now_ns`, and frees the places of those that were taken back. Not to be
    /// called under the lock of the writers.
    pub(super) fn clear_away(&self, now_ns: u64) -> Result<Cleared> {
        let _upkeep = self.pins.lock_upkeep()?;
        let (over, freed) = {
            let _lock = self.pins.lock()?;
            let in_use = self.in_use()?;
            self.forget_twins(&in_use)?;
            let standing = self.read_all()?;
            // A writer that was killed may have counted one that it did not write.
            self.header().sources.set(count_of(standing.len()));
            let mut over = 0;
            for (source, _) in standing.iter().filter(|(_, entry)| entry.is_expired(now_ns)) {
                over += usize::from(self.take_back(*source)?);
            }
            (over, in_use.places().filter(|place| place.block.spend()).count())
        };
        if freed > 0 {
            wait_for_packets();
            let _lock = self.pins.lock()?;
            let in_use = self.in_use()?;
            in_use.lines.values().iter().for_each(LiveLine::free_spent);
            in_use.renew_marks(&self.read_overflow()?);
        }
        Ok(Cleared { over, freed: freed + self.drain_overflow()? })
    }

    /// Gives those in the overflow a place in their lines where there is one; returns how many. Under the lock of the
    /// upkeep.
    fn drain_overflow(&self) -> Result<usize> {
        let moved = {
            let _lock = self.pins.lock()?;
            self.move_from_overflow(&*self.in_use()?)?
        };
        if !moved.is_empty() {
            wait_for_packets();
            self.leave_overflow(&moved)?;
        }
        Ok(moved.len())
    }

    /// Puts those in the overflow for which there is a place into the lines of a table, where they are found first.
    /// Under the lock.
    fn move_from_overflow(&self, table: &InUse) -> Result<Vec<Source>> {
        let mut moved = Vec::new();
        for (source, block) in self.read_overflow()? {
            if let Some(place) = table.mark_and_find_place(source) {
                place.put(source, block.terms);
                moved.push(source);
            }
        }
        Ok(moved)
    }

    /// Takes those that were moved out of the overflow, with their hits, when no packet finds them there any more.
    fn leave_overflow(&self, moved: &[Source]) -> Result<()> {
        for sources in moved.chunks(CARRIED_AT_ONCE) {
            let _lock = self.pins.lock()?;
            let in_use = self.in_use()?;
            for source in sources {
                let left = self.overflow.get(source)?;
                if let (Some(left), Standing::InLine(now)) = (left, in_use.find(*source)) {
                    in_use.counted(now).add_hits(left.hits);
                }
                if self.overflow.remove(source)? {
                    self.header().overflowing.add(u32::MAX);
                }
            }
        }
        Ok(())
    }

    /// Takes those out of the overflow whose block stands, or stood, in a line, where alone it is looked for: what is
    /// left when somebody who made the table larger was killed. Under both locks.
    fn forget_twins(&self, in_use: &InUse) -> Result<()> {
        let overflowing = self.overflow.read_all()?;
        let twins: Vec<Source> = overflowing
            .iter()
            .map(|(source, _)| *source)
            .filter(|source| !in_use.may_overflow(*source))
            .collect();
        self.overflow.remove_all(&twins)?;
        self.header().overflowing.set(count_of(overflowing.len() - twins.len()));
        Ok(())
    }

    /// Copies the table to the other half of the map, with as many lines as `wanted` says of the table in use, and
    /// lets the packets go on with that one; `false` when there is no need or no room.
    fn grow_to(&self, wanted: impl Fn(BlockRegion) -> Option<u32>) -> Result<bool> {
        if wanted(self.in_use()?.region).is_none() {
            return Ok(false);
        }
        let _upkeep = self.pins.lock_upkeep()?;
        let old = self.in_use()?;
        let most = BlockRegion::most_lines(self.map_lines);
        let lines = wanted(old.region).map(|lines| lines.min(most));
        let Some(lines) = lines.filter(|lines| *lines > old.region.lines()) else {
            return Ok(false);
        };
        let first = old.region.other_first(self.map_lines);
        let (header, state) = (self.header(), self.header.writer_state());
        self.wipe(first, state.stale.get())?;
        let new = Arc::new(self.map_region(BlockRegion::new(first, lines))?);
        let moved = {
            let _lock = self.pins.lock()?;
            self.forget_twins(&old)?;
            state.stale.publish(lines.max(old.region.lines()));
            let moved = self.copy(&old, &new)?;
            header.region.publish(new.region.bits());
            *self.in_use.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&new));
            moved
        };
        wait_for_packets();
        self.carry_hits(&old)?;
        self.leave_overflow(&moved)?;
        self.wipe(old.region.first(), old.region.lines())?;
        state.stale.publish(0);
        Ok(true)
    }

    /// Puts every block that stands into `new`; returns the overflowing ones that found a place there.
    fn copy(&self, old: &InUse, new: &InUse) -> Result<Vec<Source>> {
        let moved = self.move_from_overflow(new)?;
        for CountedPlace { block, .. } in old.places() {
            let (Some(source), terms) = (block.source(), block.terms()) else {
                continue;
            };
            if terms == BlockTerms::NONE {
                continue;
            }
            match new.mark_and_find_place(source) {
                Some(place) => place.put(source, terms),
                None => {
                    self.header().overflowing.add(1);
                    self.overflow.insert(&source, &PlacedBlock { source, terms, hits: 0 })?;
                }
            }
        }
        Ok(moved)
    }

    /// Adds what was dropped by the former table to the blocks in the one in use.
    fn carry_hits(&self, old: &InUse) -> Result<()> {
        let mut places = old.places().peekable();
        while places.peek().is_some() {
            let _lock = self.pins.lock()?;
            let in_use = self.in_use()?;
            for place in places.by_ref().take(CARRIED_AT_ONCE) {
                let (Some(source), hits @ 1..) = (place.block.source(), place.hits()) else {
                    continue;
                };
                if let Standing::InLine(now) = in_use.find(source) {
                    in_use.counted(now).add_hits(hits);
                } else if let Some(now) = self.overflowing(source)? {
                    let hits = now.hits.wrapping_add(hits);
                    self.overflow.insert(&source, &PlacedBlock { hits, ..now })?;
                }
            }
        }
        Ok(())
    }

    /// Clears lines of the table that is not in use.
    fn wipe(&self, first: u32, lines: u32) -> Result<()> {
        if lines == 0 {
            return Ok(());
        }
        let lines = lines.min(BlockRegion::most_lines(self.map_lines));
        let region = self.map_region(BlockRegion::new(first, lines))?;
        region.places().for_each(CountedPlace::clear);
        region.marks.values().iter().for_each(LiveMarks::clear);
        Ok(())
    }
}

/// Blocks whose hits are carried over under one lock.
const CARRIED_AT_ONCE: usize = 16_384;

impl InUse {
    fn places(&self) -> impl Iterator<Item = CountedPlace<'_>> {
        self.lines.values().iter().zip(self.hits.values()).flat_map(|(line, hits)| places_of(line, hits))
    }

    /// A place of the table with its hits.
    fn counted<'t>(&'t self, place: Place<'t>) -> CountedPlace<'t> {
        let hits = self.at(self.hits.values(), place.index);
        let others = hits.and_then(|hits| hits.others.get(place.position()));
        CountedPlace { block: place.block, others: others.expect("as many as there are places") }
    }

    /// What belongs to a line, by its index in the map.
    fn at<'t, T>(&self, values: &'t [T], index: u32) -> Option<&'t T> {
        values.get(index.checked_sub(self.region.first())? as usize)
    }

    fn find(&self, source: Source) -> Standing<'_> {
        find(&self, self.region, source)
    }

    /// Clears the marks of those who stand nowhere any more, neither in a line nor in the overflow. Under the lock of the
    /// writers.
    fn renew_marks(&self, overflowing: &[(Source, PlacedBlock)]) {
        let words = self.marks.values();
        let mut renewed = vec![0_u64; words.len()];
        let mut summary = 0;
        let in_lines = self.places().filter_map(|place| place.block.source());
        for source in in_lines.chain(overflowing.iter().map(|(source, _)| *source)) {
            let mark = self.region.mark_of(source, self.seeds.first);
            if let Some(bits) = renewed.get_mut((mark.word - self.region.first_word()) as usize) {
                *bits |= mark.bit;
            }
            summary |= BlockMark::in_summary(source, self.seeds.first).bit;
        }
        self.summary().renew(summary);
        words.iter().zip(renewed).for_each(|(marks, bits)| marks.renew(bits));
    }

    fn marks_at(&self, word: u32) -> Option<&LiveMarks> {
        self.marks.values().get(word.checked_sub(self.region.first_word())? as usize)
    }

    /// Whether the kernel looks for the source's block in the overflow.
    fn may_overflow(&self, source: Source) -> bool {
        matches!(self.find(source), Standing::MaybeOverflowing)
    }

    /// Marks the source, and gives it a place in one of its lines; `None` when both are full, or it cannot stand in a line.
    fn mark_and_find_place(&self, source: Source) -> Option<CountedPlace<'_>> {
        if !can_stand_in_a_line(source) {
            return None;
        }
        let mark = self.region.mark_of(source, self.seeds.first);
        if let Some(marks) = self.marks_at(mark.word) {
            marks.set(mark);
        }
        self.summary().set(BlockMark::in_summary(source, self.seeds.first));
        [self.region.line_of(source, self.seeds.first), self.region.other_line_of(source, self.seeds)]
            .into_iter()
            .find_map(|index| {
                let hits = self.at(self.hits.values(), index)?;
                places_of(self.line(index)?, hits).find(|place| place.block.is_free())
            })
    }
}

impl<'t> Memory<'t> for &'t InUse {
    fn summary(&self) -> &LiveMarks {
        &self.header.header().summary
    }

    fn seed(&self, choice: Choice) -> u64 {
        match choice {
            Choice::First => self.seeds.first,
            Choice::Second => self.seeds.second,
        }
    }

    fn line(&self, index: u32) -> Option<&'t LiveLine> {
        self.at(self.lines.values(), index)
    }

    fn marks(&self, word: u32) -> Option<&'t LiveMarks> {
        self.marks_at(word)
    }
}

fn places_of<'t>(line: &'t LiveLine, hits: &'t LiveHits) -> impl Iterator<Item = CountedPlace<'t>> {
    line.blocks.iter().zip(&hits.others).map(|(block, others)| CountedPlace { block, others })
}
