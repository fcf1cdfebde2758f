//! Where the row of a source stands: the layout of the source table, two array maps that the kernel counts in and user
//! space reads through a mapping of their memory.
//!
//! A source has two buckets of eight rows each, by a secret hash. One is near: it is among few, so that while sources are
//! few, all that is touched of them lies near each other. The other is of use when the near one is full. What tells the
//! rows of a bucket apart is in a map of its own, a byte for each: a source without a row costs a packet a word or two,
//! and one with a row that and its row.

use crate::{Seeds, Source};

/// Places of sources, by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceTable {
    buckets: u32,
}

/// Where a source may have its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePlace {
    /// Index of the bucket that is filled first.
    pub near: u32,
    /// Index of the other.
    pub far: u32,
    /// What its rows are marked with, [`SourceTable::LEAST_TAG`]..=[`SourceTable::MOST_TAG`]: others may be marked
    /// alike.
    pub tag: u8,
}

impl SourceTable {
    /// Rows of a bucket.
    pub const ROWS_PER_BUCKET: u32 = 8;
    /// The least that a row in use is marked with; 0 is for those that are free.
    pub const LEAST_TAG: u8 = 1;
    /// The most.
    pub const MOST_TAG: u8 = 126;
    /// Near buckets, with 16,384 rows of 3 MiB.
    pub const NEAR: u32 = 1 << Self::NEAR_BITS;
    const NEAR_BITS: u32 = 11;

    /// Buckets for so many sources: a quarter more rows than sources, because some buckets get more than others.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "fewer than the sources")]
    pub const fn buckets_for(sources: u32) -> u32 {
        let rows = (sources as u64 * 5).div_ceil(4);
        let buckets = rows.div_ceil(Self::ROWS_PER_BUCKET as u64) as u32;
        if buckets > Self::NEAR { buckets } else { Self::NEAR + 1 }
    }

    /// A table of so many buckets, more than [`Self::NEAR`].
    #[inline(always)]
    #[must_use]
    pub const fn new(buckets: u32) -> Self {
        Self { buckets }
    }

    /// How many rows there are.
    #[must_use]
    pub const fn rows(self) -> u32 {
        self.buckets.saturating_mul(Self::ROWS_PER_BUCKET)
    }

    /// How many sources were asked to fit, up to what was rounded up for them.
    #[must_use]
    pub const fn sources(self) -> u32 {
        self.rows() / 5 * 4
    }

    /// For how many sources there is a table when so many are asked to fit.
    #[must_use]
    pub const fn rounded(sources: u32) -> u32 {
        Self::new(Self::buckets_for(sources)).sources()
    }

    /// Where a source may have its row, by two secret odd numbers: two rounds of multiplication, because sources that
    /// are numbered evenly would crowd in some buckets after one.
    ///
    /// The upper half of the product tells the buckets by its highest bits, without a division (Lemire, "Fast random
    /// integer generation in an interval", 2019), and the tag by its lowest.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "what is left are 32 and 7 bits")]
    pub const fn place_of(self, source: Source, seeds: Seeds) -> SourcePlace {
        let once = source.number().wrapping_mul(seeds.first);
        let hash = (once ^ once >> 32).wrapping_mul(seeds.second) >> 32;
        SourcePlace {
            near: (hash >> (32 - Self::NEAR_BITS)) as u32,
            far: Self::NEAR + ((hash * (self.buckets - Self::NEAR) as u64) >> 32) as u32,
            tag: (((hash & 0x7f) * Self::MOST_TAG as u64) >> 7) as u8 + Self::LEAST_TAG,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn sources_spread_over_all_buckets_and_tags() {
        let table = SourceTable::new(SourceTable::buckets_for(65_536));
        assert_eq!((table.buckets, table.rows(), table.sources()), (10_240, 81_920, 65_536));
        assert_eq!(SourceTable::rounded(262_144), 262_144);
        let seeds = Seeds::from_random([0x9e37_79b9_7f4a_7c15, 0xc4ce_b9fe_1a85_ec53]);
        for (description, stride, shift) in
            [("neighbours", 1_u64, 0), ("one of each /24", 256, 0), ("IPv6, of one provider", 1, 20)]
        {
            let mut rows = vec![0_u32; table.buckets as usize];
            let mut tags = [0_u32; 256];
            let mut without = 0;
            for number in 0..65_536 {
                let source = Source::from_number((0x2001_0db8 << 32) + ((number * stride) << shift));
                let place = table.place_of(source, seeds);
                assert!(place.near < SourceTable::NEAR && place.far >= SourceTable::NEAR);
                tags[usize::from(place.tag)] += 1;
                let bucket = [place.near, place.far].into_iter().find(|bucket| rows[*bucket as usize] < 8);
                match bucket {
                    Some(bucket) => rows[bucket as usize] += 1,
                    None => without += 1,
                }
            }
            assert!(without < 65_536 / 12, "{description}: {without} find no row");
            assert_eq!((tags[0], tags[127..].iter().sum::<u32>()), (0, 0), "{description}");
            assert!(tags[1..127].iter().all(|tag| *tag > 0), "{description}: {tags:?}");
        }
    }
}
