//! Where the block of a source stands: the layout of the block table, one array map that the kernel reads and user
//! space writes through a mapping of its memory.
//!
//! The map's elements are lines of 64 bytes. The first holds the header; from [`BlockRegion::FIRST_LINE`] on there is
//! room for two tables, of which one is in use: its place is one number in the header, so that a change from one to
//! the other is one store.

use bytemuck::{Pod, Zeroable};

use crate::Source;

/// Entries per line.
pub const ENTRIES_PER_LINE: usize = 4;
/// How many of them are taken at most when all are counted.
const HALF_A_LINE: u32 = 2;

/// Secret numbers for the two lines in which a source may stand, so that nobody who chooses addresses can choose lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// Of the first line, and of the other; odd.
    pub first: u64,
    /// Of the other; odd.
    pub second: u64,
}

impl Seeds {
    /// From random bytes.
    #[must_use]
    pub const fn from_random(bytes: [u64; 2]) -> Self {
        let [first, second] = bytes;
        Self { first: first | 1, second: second | 1 }
    }
}

/// The table in use: a run of lines, a power of two of them, 2 at least.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BlockRegion(u64);

impl BlockRegion {
    /// Where the first table may begin: on a page of its own, whatever size pages have (64 KiB at most).
    pub const FIRST_LINE: u32 = 1_024;
    /// Lines of the smallest table: one page.
    pub const LEAST_LINES: u32 = 64;

    /// `lines` lines from `first` on; `lines` is a power of two.
    #[must_use]
    pub const fn new(first: u32, lines: u32) -> Self {
        Self((first as u64) << 32 | (u64::BITS - lines.ilog2()) as u64)
    }

    /// As it stands in the header.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// As it stands in the header.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Index of the first line.
    #[inline(always)]
    #[must_use]
    pub const fn first(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// How many lines there are.
    #[must_use]
    pub const fn lines(self) -> u32 {
        1 << (u64::BITS - self.shift())
    }

    /// Of a hash, whose upper bits tell the line.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    const fn shift(self) -> u32 {
        self.0 as u32
    }

    /// Index of the first of the two lines in which a source may stand, by the first of the [`Seeds`]; the other is of
    /// use when it is full.
    ///
    /// Multiply-shift hashing (Dietzfelbinger and others, 1997): for a packet one multiplication, the least there can
    /// be to wait for.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 2^32 lines")]
    pub const fn line_of(self, source: Source, seed: u64) -> u32 {
        // A shift of 64 or more never stands there; the kernel's compiler needs no check then.
        self.first() + (source.number().wrapping_mul(seed) >> (self.shift() & 63)) as u32
    }

    /// Index of the other line, after another round of multiplication: sources that are numbered evenly may crowd in some
    /// lines after one. Packets rarely need it.
    #[inline(always)]
    #[must_use]
    pub const fn other_line_of(self, source: Source, seeds: Seeds) -> u32 {
        let once = source.number().wrapping_mul(seeds.first);
        self.line_of(Source::from_number(once ^ once >> 32), seeds.second)
    }

    /// Lines for `entries` entries: no more than half of the places are taken.
    #[must_use]
    pub const fn lines_for(entries: u32) -> u32 {
        let lines = entries.div_ceil(HALF_A_LINE).next_power_of_two();
        if lines < Self::LEAST_LINES { Self::LEAST_LINES } else { lines }
    }

    /// Elements of a map with room for two tables of `entries` entries, each on pages of its own.
    #[must_use]
    pub const fn map_lines_for(entries: u32) -> u32 {
        let lines = Self::lines_for(entries);
        Self::FIRST_LINE + 2 * if lines < Self::FIRST_LINE { Self::FIRST_LINE } else { lines }
    }

    /// Room for entries that find both their lines full, which are few, as a rule: hardly an eighth of sources that are
    /// numbered as unluckily as can be.
    #[must_use]
    pub const fn overflow_for(entries: u32) -> u32 {
        let room = entries / 8;
        if room < 65_536 { 65_536 } else { room }
    }

    /// Where the other table begins, in a map of `map_lines` elements.
    #[must_use]
    pub const fn other_first(self, map_lines: u32) -> u32 {
        if self.first() == Self::FIRST_LINE {
            Self::FIRST_LINE + Self::most_lines(map_lines)
        } else {
            Self::FIRST_LINE
        }
    }

    /// Lines of the largest table, in a map of `map_lines` elements.
    #[must_use]
    pub const fn most_lines(map_lines: u32) -> u32 {
        (map_lines - Self::FIRST_LINE) / 2
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn tables_lie_apart_and_have_room() {
        for entries in [1, 64, 128, 129, 1_000_000, 1_048_576, 8_388_608] {
            let lines = BlockRegion::lines_for(entries);
            let map_lines = BlockRegion::map_lines_for(entries);
            assert!(lines.is_power_of_two() && lines * 2 >= entries, "{entries}");
            let most = BlockRegion::most_lines(map_lines);
            assert_eq!(most, lines.max(1_024));
            let one = BlockRegion::new(BlockRegion::FIRST_LINE, most);
            let other = BlockRegion::new(one.other_first(map_lines), most);
            assert_eq!(one.first() + one.lines(), other.first());
            assert_eq!(other.first() + other.lines(), map_lines);
            assert_eq!(other.other_first(map_lines), one.first());
            assert_eq!(BlockRegion::from_bits(other.bits()), other);
        }
    }

    #[test]
    fn sources_spread_over_all_lines_as_the_seed_has_it() {
        const LINES: u32 = 1_024;
        let region = BlockRegion::new(2_048, LINES);
        for (stride, seed) in [(1, 0x9e37_79b9_7f4a_7c15), (1, 3 << 60 | 1), (256, 0xc4ce_b9fe_1a85_ec53)] {
            let mut sources = [0_u32; LINES as usize];
            let mut moved = 0;
            for number in 0..8 * LINES {
                let source = Source::from_v4_bytes((0x0a00_0000 + number * stride).to_be_bytes());
                let line = region.line_of(source, seed);
                assert!((2_048..3_072).contains(&line));
                sources[(line - 2_048) as usize] += 1;
                moved += u32::from(region.line_of(source, seed ^ 0x5555_5555_5555_5550) != line);
            }
            let most = sources.iter().max();
            assert!(seed == 3 << 60 | 1 || most < Some(&40), "{seed:x}: {most:?} neighbours in one line");
            assert!(moved > 8 * LINES - 100, "{seed:x}: {moved}");
        }
    }

    #[test]
    fn hardly_a_source_finds_both_lines_full_however_they_are_numbered() {
        let region = BlockRegion::new(0, BlockRegion::lines_for(65_536));
        // A first seed by which every seventh line gets all of them, and another.
        for first in [1 << 48 | 1, 0x9e37_79b9_7f4a_7c15] {
            let seeds = Seeds { first, second: 0xc4ce_b9fe_1a85_ec53 };
            for stride in [1_u64, 256, 1 << 20] {
                let mut blocks = vec![0_u8; region.lines() as usize];
                let mut overflowing = 0;
                for number in 0..65_536 {
                    let source = Source::from_number(0x0a00_0000 + number * stride);
                    let lines = [region.line_of(source, seeds.first), region.other_line_of(source, seeds)];
                    match lines.into_iter().find(|line| blocks[*line as usize] < 4) {
                        Some(line) => blocks[line as usize] += 1,
                        None => overflowing += 1,
                    }
                }
                assert!(overflowing < 65_536 / 8, "{first:x}, {stride}: {overflowing}");
            }
        }
    }
}
