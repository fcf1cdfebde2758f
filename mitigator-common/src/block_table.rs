//! Where the block of a source stands: the layout of the block table, one array map that the kernel reads and user
//! space writes through a mapping of its memory.
//!
//! The map's elements are lines of 64 bytes. The first holds the header, the second what writers alone need; from
//! [`BlockRegion::FIRST_LINE`] on there is room for two tables, of which one is in use: its place is one number in the
//! header, so that a change from one to the other is one store.
//!
//! A table that the nearest cache does not hold has marks in another map, 16 bits for each line, of which each source sets
//! one in its first line's: of those who are not blocked, most are found not to be by a thirty-second of the memory (a Bloom
//! filter of one hash, Bloom 1970, and of blocks, Putze, Sanders and Singler 2007). A smaller one is summed up in one word of
//! the header, of which each source sets a bit.

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

/// One bit of the marks of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockMark {
    /// Index of the word in the map, which has the marks of four lines; 0 in the summary, which is one word.
    pub word: u32,
    /// Which of its bits, as a number with that one set.
    pub bit: u64,
}

impl BlockMark {
    /// That of a source in the one word that sums a small table up.
    #[inline(always)]
    #[must_use]
    pub const fn in_summary(source: Source, first_seed: u64) -> Self {
        Self { word: 0, bit: 1 << (source.number().wrapping_mul(first_seed) >> (u64::BITS - 6)) }
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
    /// Lines of the smallest table that has marks, 128 KiB; what is smaller has a summary alone.
    const LEAST_MARKED_LINES: u32 = 2_048;
    /// In the region's lower half, beside the shift: that it has marks.
    const MARKED: u64 = 1 << 8;
    /// Lines for which there are marks in a word, as a power of two.
    const LINES_PER_WORD_BITS: u32 = 2;
    /// Marks of a line, as a power of two.
    const MARKS_PER_LINE_BITS: u32 = 4;

    /// `lines` lines from `first` on; `lines` is a power of two, and `first` a multiple of four.
    #[must_use]
    pub const fn new(first: u32, lines: u32) -> Self {
        debug_assert!(first.is_multiple_of(1 << Self::LINES_PER_WORD_BITS) && lines.is_power_of_two());
        let region = Self((first as u64) << 32 | (u64::BITS - lines.ilog2()) as u64);
        if lines >= Self::LEAST_MARKED_LINES { region.marked() } else { region }
    }

    /// The same with marks, however few lines there are.
    #[must_use]
    pub const fn marked(self) -> Self {
        Self(self.0 | Self::MARKED)
    }

    /// Whether marks tell who may have a block.
    #[inline(always)]
    #[must_use]
    pub const fn has_marks(self) -> bool {
        self.0 & Self::MARKED != 0
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
        self.0 as u32 & (Self::MARKED as u32 - 1)
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

    /// The mark of a source, by the first of the [`Seeds`]: among those of its first line.
    #[inline(always)]
    #[must_use]
    pub const fn mark_of(self, source: Source, seed: u64) -> BlockMark {
        // The bits of the hash that tell the line, and the next ones.
        let hash = source.number().wrapping_mul(seed) >> ((self.shift() - Self::MARKS_PER_LINE_BITS) & 63);
        BlockMark { word: Self::word_of_line(self.line_of(source, seed)), bit: 1 << (hash & 63) }
    }

    /// Index of the word with the marks of a line, by its index in the map.
    #[inline(always)]
    #[must_use]
    pub const fn word_of_line(line: u32) -> u32 {
        line >> Self::LINES_PER_WORD_BITS
    }

    /// Index of the first word of marks.
    #[must_use]
    pub const fn first_word(self) -> u32 {
        Self::word_of_line(self.first())
    }

    /// Words of marks for so many lines.
    #[must_use]
    pub const fn words_for(lines: u32) -> u32 {
        lines.div_ceil(1 << Self::LINES_PER_WORD_BITS)
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
    fn a_mark_is_one_of_its_lines_and_of_few_others() {
        const LINES: u32 = 4_096;
        let region = BlockRegion::new(2_048, LINES);
        assert!(region.has_marks() && region.lines() == LINES);
        assert!(!BlockRegion::new(2_048, 64).has_marks());
        assert_eq!(BlockRegion::from_bits(region.bits()), region);
        let marks_of_line = |line: u32| u64::from(u16::MAX) << (16 * (line % 4));
        let mut words = vec![0_u64; BlockRegion::words_for(LINES) as usize];
        let seed = 0x9e37_79b9_7f4a_7c15;
        let sources = |from: u32| (from..from + 2 * LINES).map(|number| Source::from_number(number.into()));
        let word_of = |mark: BlockMark| (mark.word - region.first_word()) as usize;
        for source in sources(0x0a00_0000) {
            let mark = region.mark_of(source, seed);
            let line = region.line_of(source, seed);
            assert_eq!(mark.word, line / 4);
            assert_eq!(mark.bit & !marks_of_line(line), 0, "a mark of another line");
            words[word_of(mark)] |= mark.bit;
        }
        let is_marked = |source: &Source| {
            let mark = region.mark_of(*source, seed);
            words[word_of(mark)] & mark.bit != 0
        };
        let mistaken = sources(0xc000_0000).filter(is_marked).count();
        assert!(mistaken < LINES as usize / 3, "{mistaken} of {} are taken for blocked", 2 * LINES);
        // Two lines, as the model checker has them.
        let least = BlockRegion::new(4, 2).marked();
        for source in sources(0x0a00_0000) {
            let (mark, line) = (least.mark_of(source, seed), least.line_of(source, seed));
            assert_eq!((mark.word, mark.bit & !marks_of_line(line)), (1, 0));
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
