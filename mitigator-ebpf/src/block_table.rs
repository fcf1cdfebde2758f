//! Finds the block of a source in the block table, whose layout `mitigator_common` tells. What is
//! written there, and in which order, is told in `block_writing`.

use mitigator_common::{BlockMark, BlockRegion, BlockTerms, ENTRIES_PER_LINE, Seeds, Source};

use crate::instructions::distance;
use crate::shared::{SharedU32, SharedU64};

/// No source: the number of 0.0.0.0.
pub(crate) const NOBODY: u64 = 0;

/// Whether a source may stand in a line, and not in the overflow alone: its number is neither 0, which stands for
/// nobody, nor one of `0:1::/32`, which are nobody's and of which two stand for places without a block.
#[inline(always)]
#[must_use]
pub const fn can_stand_in_a_line(source: Source) -> bool {
    source.number() != NOBODY && source.number() >> 32 != 1
}

/// A block in the overflow: [`PlacedBlock`] while packets are judged, field by field the same.
///
/// [`PlacedBlock`]: mitigator_common::PlacedBlock
#[repr(C)]
#[derive(Debug, Default)]
pub struct LiveOverflowingBlock {
    source: SharedU64,
    terms: SharedU32,
    hits: SharedU32,
}

impl LiveOverflowingBlock {
    /// Whether it is the source's.
    #[inline(always)]
    #[must_use]
    pub fn is_of(&self, source: Source) -> bool {
        self.source.get() == source.number()
    }

    /// Its terms as they stand.
    #[inline(always)]
    #[must_use]
    pub fn terms(&self) -> BlockTerms {
        BlockTerms::from_bits(self.terms.get())
    }

    /// Counts a packet that was dropped.
    #[inline(always)]
    pub fn add_hit(&self) {
        self.hits.add(1);
    }
}

/// A place in a line, or the block in it.
///
/// The CPU that is the first to drop a packet by it owns `own` and adds there alone, without the atomic addition that
/// would make each packet wait for the one before; all others add to the place's number in [`LiveHits`]. Both are
/// summed by who reads: no hit is lost.
#[repr(C)]
#[derive(Debug, Default)]
pub struct LiveBlock {
    pub(crate) source: SharedU64,
    pub(crate) terms: SharedU32,
    /// Upper half: the number of the CPU that owns it and one, or 0 for nobody. Lower half: the hits there, or
    /// [`Self::CARRYING`].
    pub(crate) own: SharedU32,
}

/// Hits of a line's places on CPUs that do not own them, and what was too many for those that do. They wrap.
#[repr(C, align(16))]
#[derive(Debug, Default)]
pub struct LiveHits {
    /// One for each place.
    pub others: [SharedU32; ENTRIES_PER_LINE],
}

impl LiveBlock {
    pub(crate) const OWNER_SHIFT: u32 = 16;
    /// What stands in place of hits while as many are added to [`LiveHits`].
    pub(crate) const CARRYING: u32 = (1 << Self::OWNER_SHIFT) - 1;

    /// Its terms as they stand.
    #[inline(always)]
    #[must_use]
    pub fn terms(&self) -> BlockTerms {
        BlockTerms::from_bits(self.terms.get())
    }

    /// Counts a packet that was dropped on the CPU `cpu`, less than 65,535, where `others` is the place's number in
    /// [`LiveHits`].
    #[inline(always)]
    pub fn add_hit<'t>(&self, cpu: u32, others: impl FnOnce() -> Option<&'t SharedU32>) {
        let found = self.own.get();
        let none = (cpu + 1) << Self::OWNER_SHIFT;
        if found.wrapping_sub(none) < Self::CARRYING - 1 {
            self.own.set_later(found + 1);
            return;
        }
        if found == 0 && self.own.replace(0, none + 1) {
            return;
        }
        let Some(others) = others() else {
            return;
        };
        if found >> Self::OWNER_SHIFT == cpu + 1 {
            // In this order, so that who reads can tell that these are counted neither twice nor not at all.
            self.own.set(none + Self::CARRYING);
            others.publish_sum(Self::CARRYING);
            self.own.publish(none);
        } else {
            others.add(1);
        }
    }
}

/// One cache line of entries, filled from the front.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct LiveLine {
    /// The places.
    pub blocks: [LiveBlock; ENTRIES_PER_LINE],
}

impl LiveLine {
    #[inline(always)]
    fn find(&self, number: u64, index: u32) -> Option<Place<'_>> {
        let [a, b, c, d] = &self.blocks;
        let block = if a.source.get() == number {
            a
        } else if b.source.get() == number {
            b
        } else if c.source.get() == number {
            c
        } else if d.source.get() == number {
            d
        } else {
            return None;
        };
        Some(Place { block, line: self, index })
    }

    /// Whether a source of this line may stand elsewhere.
    #[inline(always)]
    fn is_full(&self) -> bool {
        let [_, _, _, last] = &self.blocks;
        last.source.get() != NOBODY
    }
}

/// Marks of four lines, or of a whole table.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct LiveMarks {
    pub(crate) bits: SharedU64,
}

impl LiveMarks {
    /// Whether a mark is set.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, mark: BlockMark) -> bool {
        self.bits.get() & mark.bit != 0
    }
}

/// The first line of the map: which table is in use, and how much there is to look up. Written by user space.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct LiveHeader {
    /// [`BlockRegion`]; 0 before the table is made ready.
    pub region: SharedU64,
    /// Of the hashes, as [`mitigator_common::Seeds`] tells; never 0 when the table is ready.
    pub first_seed: SharedU64,
    /// As `first_seed`.
    pub second_seed: SharedU64,
    /// Marks of all sources in the table, in one word: it tells those of a table without others apart, as long as they are
    /// few.
    pub summary: LiveMarks,
    /// Blocked sources: those that are over included.
    pub sources: SharedU32,
    /// Of them, those for which both lines were full, which stand in a hash of their own; or more, never fewer.
    pub overflowing: SharedU32,
    /// Blocked prefixes, or more, never fewer: without any, no packet pays for the look-up.
    pub prefixes: SharedU32,
    /// Limits, or more, never fewer.
    pub limits: SharedU32,
    /// Nanoseconds of a jiffy, 0 where jiffies do not tell the time.
    pub tick_ns: SharedU32,
    /// Buckets of the source table, whose places go by the seeds, too.
    pub buckets: SharedU32,
    /// The monotonic clock at jiffy 0, modulo 2^64.
    pub jiffy_zero_ns: SharedU64,
}

/// The second line of the map: what nobody needs but writers.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct LiveWriterState {
    /// How many entries are asked to fit.
    pub capacity: SharedU32,
    /// Lines of the table that is not in use which may hold remains of former use; the others are zero.
    pub stale: SharedU32,
}

/// Which of its two lines a source is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one that is filled first.
    First,
    /// The other.
    Second,
}

/// A place, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'t> {
    /// What is there.
    pub block: &'t LiveBlock,
    /// Its line.
    line: &'t LiveLine,
    /// Index of that in the map.
    pub index: u32,
}

impl Place<'_> {
    /// Which of the line's it is, 0..[`ENTRIES_PER_LINE`]: worked out for the few who ask.
    #[inline(always)]
    #[must_use]
    pub fn position(&self) -> usize {
        distance(core::ptr::from_ref(self.line).addr(), core::ptr::from_ref(self.block).addr())
            / size_of::<LiveBlock>()
            % ENTRIES_PER_LINE
    }
}

/// Where the block of a source stands.
#[derive(Debug)]
pub enum Standing<'t> {
    /// In a line.
    InLine(Place<'t>),
    /// In the overflow, if there is one.
    MaybeOverflowing,
    /// Nowhere.
    Nowhere,
}

/// The table, as [`find`] needs it.
pub trait Memory<'t> {
    /// Marks of all sources in one word.
    fn summary(&self) -> &LiveMarks;
    /// The seed of a line.
    fn seed(&self, choice: Choice) -> u64;
    /// A line of the map.
    fn line(&self, index: u32) -> Option<&'t LiveLine>;
    /// A word of marks.
    fn marks(&self, word: u32) -> Option<&'t LiveMarks>;
}

/// Looks for the block of a source.
#[inline(always)]
#[must_use]
pub fn find<'t>(table: &impl Memory<'t>, region: BlockRegion, source: Source) -> Standing<'t> {
    let number = source.number();
    // One comparison for nearly all: of sources of addresses, who cannot stand has nothing in the lower half.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    let lower_half = number as u32;
    debug_assert!(lower_half == 0 || can_stand_in_a_line(source), "no address is of {number:#x}");
    if lower_half == 0 && !can_stand_in_a_line(source) {
        return Standing::MaybeOverflowing;
    }
    let seed = table.seed(Choice::First);
    if region.has_marks() {
        let mark = region.mark_of(source, seed);
        if let Some(marks) = table.marks(mark.word)
            && !marks.has(mark)
        {
            return Standing::Nowhere;
        }
    } else if !table.summary().has(BlockMark::in_summary(source, seed)) {
        return Standing::Nowhere;
    }
    let index = region.line_of(source, seed);
    let Some(first) = table.line(index) else {
        return Standing::Nowhere;
    };
    if let Some(place) = first.find(number, index) {
        return Standing::InLine(place);
    }
    if !first.is_full() {
        return Standing::Nowhere;
    }
    let seeds = Seeds { first: seed, second: table.seed(Choice::Second) };
    let index = region.other_line_of(source, seeds);
    let Some(second) = table.line(index) else {
        return Standing::Nowhere;
    };
    match second.find(number, index) {
        Some(place) => Standing::InLine(place),
        None if second.is_full() => Standing::MaybeOverflowing,
        None => Standing::Nowhere,
    }
}
