//! What the block tables hold of a source or prefix.

use bytemuck::{Pod, Zeroable};

/// `expires_at_ns` of a block without an end.
pub const NEVER_EXPIRES: u64 = u64::MAX;

/// Where the number of blocked sources stands among the block counts.
pub const BLOCKED_SOURCES: u32 = 0;
/// Where the number of blocked prefixes stands among the block counts.
pub const BLOCKED_PREFIXES: u32 = 1;
/// Where the number of limits stands among the block counts.
pub const LIMITS: u32 = 2;

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
}

/// Value of both block tables. Written by user space; the data plane adds to `hits` alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct BlockEntry {
    /// On the monotonic clock; [`NEVER_EXPIRES`] for a block without an end.
    pub expires_at_ns: u64,
    /// Packets dropped for this entry since it was written.
    pub hits: u64,
    /// 1 when an allowed prefix lies inside the entry, so that a hit has to ask the allow list.
    excepted: u16,
    origin: u16,
    /// Leading bits of the key in the prefix table, 0 in the source table.
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

    /// Leading bits of the key in the prefix table, 0 in the source table.
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

    /// Who asked for the block; a number of a later schema reads as the operator's, which is never
    /// removed automatically.
    #[must_use]
    pub fn origin(&self) -> BlockOrigin {
        BlockOrigin::ALL
            .into_iter()
            .find(|origin| *origin as u16 == self.origin)
            .unwrap_or(BlockOrigin::Operator)
    }
}
