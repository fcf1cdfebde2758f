//! Finds the block of a source in the block table, whose layout `mitigator_common` tells. What is
//! written there, and in which order, is told in `block_writing`.

use mitigator_common::{BlockRegion, BlockTerms, ENTRIES_PER_LINE, Seeds, Source};

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

/// A place, or the block in it: [`PlacedBlock`] while packets are judged, field by field the same.
///
/// [`PlacedBlock`]: mitigator_common::PlacedBlock
#[repr(C)]
#[derive(Debug, Default)]
pub struct LiveBlock {
    pub(crate) source: SharedU64,
    pub(crate) terms: SharedU32,
    pub(crate) hits: SharedU32,
}

impl LiveBlock {
    /// Whether it is the source's, in the overflow.
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

    /// Adds packets that were dropped.
    #[inline(always)]
    pub fn add_hits(&self, packets: u32) {
        self.hits.add(packets);
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
    fn find(&self, number: u64) -> Option<&LiveBlock> {
        let [a, b, c, d] = &self.blocks;
        if a.source.get() == number {
            Some(a)
        } else if b.source.get() == number {
            Some(b)
        } else if c.source.get() == number {
            Some(c)
        } else if d.source.get() == number {
            Some(d)
        } else {
            None
        }
    }

    /// Whether a source of this line may stand elsewhere.
    #[inline(always)]
    fn is_full(&self) -> bool {
        let [_, _, _, last] = &self.blocks;
        last.source.get() != NOBODY
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
    /// How many entries are asked to fit.
    pub capacity: SharedU32,
    /// Blocked sources: those that are over included.
    pub sources: SharedU32,
    /// Of them, those for which both lines were full, which stand in a hash of their own; or more, never fewer.
    pub overflowing: SharedU32,
    /// Blocked prefixes, or more, never fewer: without any, no packet pays for the look-up.
    pub prefixes: SharedU32,
    /// Limits, or more, never fewer.
    pub limits: SharedU32,
    /// Lines of the table that is not in use which may hold remains of former use; the others are zero.
    pub stale: SharedU32,
    /// Nanoseconds of a jiffy, 0 where jiffies do not tell the time.
    pub tick_ns: SharedU32,
    /// Buckets of the source table, whose places go by the seeds, too.
    pub buckets: SharedU32,
    /// The monotonic clock at jiffy 0, modulo 2^64.
    pub jiffy_zero_ns: SharedU64,
}

/// Which of its two lines a source is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one that is filled first.
    First,
    /// The other.
    Second,
}

/// Where the block of a source stands.
#[derive(Debug)]
pub enum Standing<'t> {
    /// In a line.
    InLine(&'t LiveBlock),
    /// In the overflow, if there is one.
    MaybeOverflowing,
    /// Nowhere.
    Nowhere,
}

/// Looks for the block of a source, where `seed_of` tells the seeds and `line` gives the lines of the map.
#[inline(always)]
#[must_use]
pub fn find<'t>(
    region: BlockRegion,
    seed_of: impl Fn(Choice) -> u64,
    source: Source,
    line: impl Fn(u32) -> Option<&'t LiveLine>,
) -> Standing<'t> {
    let number = source.number();
    if !can_stand_in_a_line(source) {
        return Standing::MaybeOverflowing;
    }
    let seed = seed_of(Choice::First);
    let Some(first) = line(region.line_of(source, seed)) else {
        return Standing::Nowhere;
    };
    if let Some(block) = first.find(number) {
        return Standing::InLine(block);
    }
    if !first.is_full() {
        return Standing::Nowhere;
    }
    let seeds = Seeds { first: seed, second: seed_of(Choice::Second) };
    let Some(second) = line(region.other_line_of(source, seeds)) else {
        return Standing::Nowhere;
    };
    match second.find(number) {
        Some(block) => Standing::InLine(block),
        None if second.is_full() => Standing::MaybeOverflowing,
        None => Standing::Nowhere,
    }
}
