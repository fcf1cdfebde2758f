//! What is held of a block: [`BlockTerms`] for a source, in a line of the block table, [`BlockEntry`] for a prefix.

use bytemuck::{Pod, Zeroable};

use crate::Source;

/// `expires_at_ns` of a block without an end.
pub const NEVER_EXPIRES: u64 = u64::MAX;

/// Who asked for a block.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockOrigin {
    /// A person, with `mitigator block`.
    Operator = 0,
    /// The agent, by a verdict.
    Agent = 1,
    /// A file, with `mitigator blocklist import`.
    Import = 2,
}

impl BlockOrigin {
    /// Every origin, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Agent, Self::Import];

    /// In the operator's words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Agent => "agent",
            Self::Import => "import",
        }
    }

    /// A number of a later schema reads as the operator's, which is never removed automatically.
    fn of_number(number: u16) -> Self {
        Self::ALL.into_iter().find(|origin| *origin as u16 == number).unwrap_or(Self::Operator)
    }
}

/// Until when a source is blocked, by whom, and whether a packet has to ask the allow list: 4 bytes, so that they
/// change at once.
///
/// From the upper end: 29 bits of the end in units of [`BlockTerms::UNIT_NS`] of the monotonic clock, rounded up, the
/// exception mark, two bits of the origin. All zero stands for no block.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BlockTerms(u32);

impl BlockTerms {
    /// No block, or one that was taken back.
    pub const NONE: Self = Self(0);
    /// How finely ends are told apart: a block lasts up to so much longer than it was asked for. Ends reach 4.5 years
    /// after boot; what would end later does not.
    pub const UNIT_NS: u64 = 1 << Self::UNIT_BITS;
    const UNIT_BITS: u32 = 28;
    const END_SHIFT: u32 = 3;
    const EXCEPTED: u32 = 4;
    const ORIGIN: u32 = 3;
    /// The end of a block without one.
    const NEVER: u32 = u32::MAX >> Self::END_SHIFT;

    /// The terms of a block that ends at `expires_at_ns`, without exceptions.
    #[must_use]
    pub fn new(expires_at_ns: u64, origin: BlockOrigin) -> Self {
        let units = expires_at_ns.div_ceil(Self::UNIT_NS).max(1);
        let end = u32::try_from(units).unwrap_or(Self::NEVER).min(Self::NEVER);
        Self(end << Self::END_SHIFT | origin as u32)
    }

    /// The same terms, marked when an allowed prefix shares an address with the source.
    #[must_use]
    pub const fn with_exceptions(self, excepted: bool) -> Self {
        let rest = self.0 & !Self::EXCEPTED;
        Self(if excepted { rest | Self::EXCEPTED } else { rest })
    }

    /// As they stand in a line.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// As they stand in a line.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether the block has no end; then no clock need be asked.
    #[inline(always)]
    #[must_use]
    pub const fn is_endless(self) -> bool {
        self.0 >> Self::END_SHIFT == Self::NEVER
    }

    /// Whether a block that has an end is over; so is none.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self, now_ns: u64) -> bool {
        now_ns >> Self::UNIT_BITS >= (self.0 >> Self::END_SHIFT) as u64
    }

    /// Whether a hit has to ask the allow list.
    #[inline(always)]
    #[must_use]
    pub const fn has_exceptions(self) -> bool {
        self.0 & Self::EXCEPTED != 0
    }

    /// The block with what it dropped, as user space sees blocks of sources and prefixes alike; `None` for no block.
    #[must_use]
    pub fn entry(self, hits: u32) -> Option<BlockEntry> {
        let end = match self.0 >> Self::END_SHIFT {
            0 => return None,
            Self::NEVER => NEVER_EXPIRES,
            units => u64::from(units) * Self::UNIT_NS,
        };
        let origin = BlockOrigin::of_number((self.0 & Self::ORIGIN) as u16);
        let entry = BlockEntry::new(end, origin).with_exceptions(self.has_exceptions());
        Some(BlockEntry { hits: hits.into(), ..entry })
    }
}

/// The block of a source with its source, as it stands in the overflow of the block table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PlacedBlock {
    /// Whose block it is.
    pub source: Source,
    /// Until when, by whom.
    pub terms: BlockTerms,
    /// Packets dropped since it was written.
    pub hits: u32,
}

const _: () = assert!(size_of::<PlacedBlock>() == 16);

/// Value of the table of blocked prefixes. Written by user space; the data plane adds to `hits` alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct BlockEntry {
    /// On the monotonic clock; [`NEVER_EXPIRES`] for a block without an end.
    pub expires_at_ns: u64,
    /// Packets dropped for this entry since it was written. Those of a source are counted in 32 bits, which wrap.
    pub hits: u64,
    /// 1 when an allowed prefix lies inside the entry, so that a hit has to ask the allow list.
    excepted: u16,
    origin: u16,
    /// Leading bits of the key in the prefix table, 0 for a source.
    prefix_length: u32,
}

const _: () = assert!(size_of::<BlockEntry>() == 24);

impl BlockEntry {
    /// An entry without exceptions and without hits.
    #[must_use]
    pub const fn new(expires_at_ns: u64, origin: BlockOrigin) -> Self {
        Self { expires_at_ns, hits: 0, excepted: 0, origin: origin as u16, prefix_length: 0 }
    }

    /// The same entry, marked when an allowed prefix lies inside it.
    #[must_use]
    pub const fn with_exceptions(mut self, excepted: bool) -> Self {
        self.excepted = excepted as u16;
        self
    }

    /// The same entry, for a key of the prefix table.
    #[must_use]
    pub const fn with_prefix_length(mut self, length: u32) -> Self {
        self.prefix_length = length;
        self
    }

    /// Leading bits of the key in the prefix table, 0 for a source.
    #[inline(always)]
    #[must_use]
    pub const fn prefix_length(&self) -> u32 {
        self.prefix_length
    }

    /// Whether a hit has to ask the allow list.
    #[inline(always)]
    #[must_use]
    pub const fn has_exceptions(&self) -> bool {
        self.excepted != 0
    }

    /// Whether the block is over.
    #[inline(always)]
    #[must_use]
    pub const fn is_expired(&self, now_ns: u64) -> bool {
        now_ns >= self.expires_at_ns
    }

    /// Who asked for the block.
    #[must_use]
    pub fn origin(&self) -> BlockOrigin {
        BlockOrigin::of_number(self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_keep_what_they_are_given() {
        const UNIT: u64 = BlockTerms::UNIT_NS;
        for (asked_ns, end_ns) in [
            (0, UNIT),
            (1, UNIT),
            (UNIT, UNIT),
            (UNIT + 1, 2 * UNIT),
            (UNIT << 28, UNIT << 28),
            (UNIT << 29, NEVER_EXPIRES),
            (NEVER_EXPIRES, NEVER_EXPIRES),
        ] {
            for origin in BlockOrigin::ALL {
                for excepted in [false, true] {
                    let terms = BlockTerms::new(asked_ns, origin).with_exceptions(excepted);
                    let entry = terms.entry(7).unwrap();
                    assert_eq!((entry.expires_at_ns, entry.hits), (end_ns, 7), "{asked_ns}");
                    assert_eq!((entry.origin(), entry.has_exceptions()), (origin, excepted));
                    assert_eq!(terms.is_endless(), end_ns == NEVER_EXPIRES);
                    assert!(terms.is_endless() || !terms.is_over(end_ns - 1) && terms.is_over(end_ns));
                    assert_eq!(BlockTerms::from_bits(terms.bits()), terms);
                }
            }
        }
        assert_eq!(BlockTerms::NONE.entry(7), None);
        assert!(BlockTerms::NONE.is_over(0));
    }
}
