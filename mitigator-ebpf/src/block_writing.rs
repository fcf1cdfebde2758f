//! Changes the block table, in place. On the host alone.
//!
//! The kernel looks up and adds to the hits; user space, one writer at a time, does the rest through a mapping of
//! the same memory, while packets are being judged. So that none is ever judged by half an entry:
//!
//! - A block appears by its source, which is written last, when its terms stand.
//! - It is changed by its terms alone, which are one number, and taken back by [`BlockTerms::NONE`].
//! - Its source is marked before it appears anywhere, and a mark goes when nobody stands who has it, in a line or elsewhere.
//! - Its place is first taken from its source, and gets another one only after a grace period: when every packet
//!   that may have seen the former source has been judged.
//!
//! `tests/interleavings.rs` tries every order in which packets and a writer may meet at one line, and at growth.

use mitigator_common::{BlockMark, BlockTerms, Source};

use crate::block_table::{LiveBlock, LiveLine, LiveMarks, NOBODY, can_stand_in_a_line};
use crate::shared::{SharedU32, pause};

/// The last place of a line, free although the line was full. A number of `0:1::/32`, as is the next.
const NOBODY_ANY_MORE: u64 = (1 << 32) | 1;
/// A place that waits for its grace period.
const SPENT: u64 = (1 << 32) | 2;

impl LiveBlock {
    /// The source whose block this is or was; `None` for a place that is free or will be.
    #[must_use]
    pub fn source(&self) -> Option<Source> {
        let number = self.source.consult();
        let source = Source::from_number(number);
        if can_stand_in_a_line(source) { Some(source) } else { None }
    }

    /// Whether a block can be put here.
    #[must_use]
    pub fn is_free(&self) -> bool {
        matches!(self.source.get(), NOBODY | NOBODY_ANY_MORE)
    }

    /// Changes the terms and keeps the hits.
    pub fn change(&self, terms: BlockTerms) {
        self.terms.publish(terms.bits());
    }

    /// Takes the block back, whose place then waits to be [spent](Self::spend).
    pub fn take_back(&self) {
        self.change(BlockTerms::NONE);
    }

    /// Takes the place from its source when its block was taken back. The writer lets a grace period pass before
    /// [`LiveLine::free_spent`]; whether there is anything to free then is what it returns.
    pub fn spend(&self) -> bool {
        if self.source().is_some() && self.terms() == BlockTerms::NONE {
            self.source.publish(SPENT);
        }
        self.source.get() == SPENT
    }
}

/// A place with all its hits.
#[derive(Clone, Copy, Debug)]
pub struct CountedPlace<'t> {
    /// What is there.
    pub block: &'t LiveBlock,
    /// Its number in [`LiveHits`](crate::block_table::LiveHits).
    pub others: &'t SharedU32,
}

/// How often hits are read at most while they change under the reader's eyes.
const TRIES: usize = 100;

impl CountedPlace<'_> {
    /// Packets dropped since the block was written, modulo 2^32.
    #[must_use]
    pub fn hits(self) -> u32 {
        const OWN: u32 = (1 << LiveBlock::OWNER_SHIFT) - 1;
        for _ in 0..TRIES {
            let before = self.others.consult();
            let own = self.block.own.consult() & OWN;
            let others = self.others.get();
            // As many as are carried at once are counted meanwhile only if they were carried.
            if own != LiveBlock::CARRYING && others.wrapping_sub(before) < LiveBlock::CARRYING {
                return others.wrapping_add(own);
            }
            pause();
        }
        // A CPU was stopped right there. Those that it carries are left out.
        self.others.get()
    }

    /// Adds packets that were dropped elsewhere.
    pub fn add_hits(self, packets: u32) {
        self.others.add(packets);
    }

    /// Puts the block of a source here, where it [is free](LiveBlock::is_free).
    pub fn put(self, source: Source, terms: BlockTerms) {
        self.forget_hits();
        self.block.terms.set(terms.bits());
        self.block.source.publish(source.number());
    }

    /// Begins the block anew with other terms.
    pub fn renew(self, terms: BlockTerms) {
        // What a CPU counts by itself nobody else may write.
        self.others.add(self.hits().wrapping_neg());
        self.block.change(terms);
    }

    /// Forgets everything, where no packet is judged by it.
    pub fn clear(self) {
        self.block.source.set(NOBODY);
        self.block.terms.set(0);
        self.forget_hits();
    }

    fn forget_hits(self) {
        self.block.own.set(0);
        self.others.set(0);
    }
}

impl LiveMarks {
    /// Sets a mark, before its source gets a place.
    pub fn set(&self, mark: BlockMark) {
        self.renew(self.bits.get() | mark.bit);
    }

    /// Lets these be the marks: those of all who stand, so that only marks of nobody go.
    pub fn renew(&self, bits: u64) {
        if self.bits.get() != bits {
            self.bits.publish(bits);
        }
    }

    /// Forgets them all, where no packet is judged by them.
    pub fn clear(&self) {
        self.bits.set(0);
    }
}

impl LiveLine {
    /// Frees the places that were spent before the grace period that is past.
    pub fn free_spent(&self) {
        let [.., last] = &self.blocks;
        for block in self.blocks.iter().filter(|block| block.source.get() == SPENT) {
            // That the line was full is known by its last place: sources that did not fit stand elsewhere.
            block.source.publish(if core::ptr::eq(block, last) { NOBODY_ANY_MORE } else { NOBODY });
        }
    }
}
