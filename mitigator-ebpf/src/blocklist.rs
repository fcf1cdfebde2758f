//! Judges one packet by the block table and the blocked prefixes.
#![expect(unsafe_code, reason = "reads and counts through map value pointers")]

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use mitigator_common::{BlockEntry, BlockRegion, BlockTerms, Outcome, PrefixKey, Source, WideAddress};
use mitigator_ebpf::block_table::{
    Choice, LiveHeader, LiveLine, LiveMarks, LiveOverflowingBlock, Memory, Place, Standing, find,
};
use mitigator_ebpf::envelope::Envelope;
use mitigator_ebpf::shared::{SharedU32, SharedU64};

use crate::cpu_state::LiveCpuState;
use crate::maps::{BLOCK_HITS, BLOCK_MARKS, BLOCK_OVERFLOW, BLOCK_PREFIXES, BLOCK_TABLE};
use crate::{allowlist, bytes, clock};

/// What the block tables say of a packet.
pub enum Verdict {
    /// Drop it, with this outcome.
    Blocked(Outcome),
    /// A block covers it, the allow list beats the block.
    Excepted,
    /// No unexpired block covers it.
    NotListed,
}

/// The header of the block table.
#[inline(always)]
pub fn header() -> Option<&'static LiveHeader> {
    let line = BLOCK_TABLE.get_ptr(0)?;
    // SAFETY: the map is never freed while the program runs; its first line is a header, of the same size.
    Some(unsafe { &*line.cast::<LiveHeader>() })
}

/// Looks up the source, then, while prefixes are blocked, the full address.
#[inline(always)]
pub fn judge(ctx: &XdpContext, state: &LiveCpuState, header: &LiveHeader, envelope: &Envelope) -> Verdict {
    let mut excepted = false;
    if header.sources.get() != 0 {
        match judge_source(ctx, state, header, envelope) {
            Judgement::Drop => return Verdict::Blocked(Outcome::DropBlocked),
            Judgement::Excepted => excepted = true,
            Judgement::Pass => {}
        }
    }
    if !excepted && header.prefixes.get() != 0 {
        match judge_prefixes(header, bytes::sender(ctx, envelope)) {
            Judgement::Drop => return Verdict::Blocked(Outcome::DropBlockedPrefix),
            Judgement::Excepted => excepted = true,
            Judgement::Pass => {}
        }
    }
    if excepted { Verdict::Excepted } else { Verdict::NotListed }
}

enum Judgement {
    Drop,
    Excepted,
    Pass,
}

#[inline(always)]
fn judge_source(
    ctx: &XdpContext,
    state: &LiveCpuState,
    header: &LiveHeader,
    envelope: &Envelope,
) -> Judgement {
    let region = BlockRegion::from_bits(header.region.consult());
    match find(&Maps { header }, region, envelope.source) {
        Standing::InLine(place) => judge_block(ctx, header, place.block.terms(), envelope, || {
            place.block.add_hit(state.cpu.get(), || hits_of_others(place));
        }),
        Standing::MaybeOverflowing if header.overflowing.get() != 0 => match overflowing(envelope.source) {
            Some((block, terms)) => judge_block(ctx, header, terms, envelope, || block.add_hit()),
            None => Judgement::Pass,
        },
        Standing::MaybeOverflowing | Standing::Nowhere => Judgement::Pass,
    }
}

/// The table's memory.
struct Maps<'h> {
    header: &'h LiveHeader,
}

impl Memory<'static> for Maps<'_> {
    #[inline(always)]
    fn summary(&self) -> &LiveMarks {
        &self.header.summary
    }

    #[inline(always)]
    fn seed(&self, choice: Choice) -> u64 {
        match choice {
            Choice::First => self.header.first_seed.get(),
            Choice::Second => self.header.second_seed.get(),
        }
    }

    #[inline(always)]
    fn line(&self, index: u32) -> Option<&'static LiveLine> {
        let line = BLOCK_TABLE.get_ptr(index)?;
        // SAFETY: the map is never freed while the program runs, and its lines are shared numbers.
        Some(unsafe { &*line })
    }

    #[inline(always)]
    fn marks(&self, word: u32) -> Option<&'static LiveMarks> {
        let marks = BLOCK_MARKS.get_ptr(word)?;
        // SAFETY: as above.
        Some(unsafe { &*marks })
    }
}

#[inline(always)]
fn hits_of_others(place: Place<'_>) -> Option<&'static SharedU32> {
    let hits = BLOCK_HITS.get_ptr(place.index)?;
    // SAFETY: as above.
    unsafe { &*hits }.others.get(place.position())
}

#[inline(always)]
fn overflowing(source: Source) -> Option<(&'static LiveOverflowingBlock, BlockTerms)> {
    let block = BLOCK_OVERFLOW.get_ptr_mut(&source)?;
    // SAFETY: the value pointer stays valid until the program returns; user space replaces values as a whole.
    let block = unsafe { &*block };
    let terms = block.terms();
    // From 6.1 on, the kernel may give the memory of a removed element to another before the program returns.
    if block.is_of(source) { Some((block, terms)) } else { None }
}

#[inline(always)]
fn judge_block(
    ctx: &XdpContext,
    header: &LiveHeader,
    terms: BlockTerms,
    envelope: &Envelope,
    count: impl FnOnce(),
) -> Judgement {
    if !terms.is_endless() && terms.is_over(clock::now_ns(header)) {
        return Judgement::Pass;
    }
    drop_unless_allowed(terms.has_exceptions(), || bytes::sender(ctx, envelope), count)
}

/// Nested prefixes looked at before a packet passes: an expired longer one may hide a live shorter one.
const MAX_NESTED_PREFIXES: usize = 8;

#[inline(always)]
fn judge_prefixes(header: &LiveHeader, address: WideAddress) -> Judgement {
    let mut key = Key::new(PrefixKey::FULL, address);
    for _ in 0..MAX_NESTED_PREFIXES {
        let Some(entry) = BLOCK_PREFIXES.get(&key) else {
            break;
        };
        let length = entry.prefix_length();
        match judge_entry(core::ptr::from_ref(entry).cast_mut(), header, address) {
            Judgement::Pass if length > 0 => key = Key::new(length - 1, address),
            judgement => return judgement,
        }
    }
    Judgement::Pass
}

#[inline(always)]
fn judge_entry(entry: *mut BlockEntry, header: &LiveHeader, address: WideAddress) -> Judgement {
    // SAFETY: a value pointer that the map returned stays readable until the program returns; user
    // space replaces values as a whole.
    let (is_expired, has_exceptions) =
        unsafe { ((*entry).is_expired(clock::now_ns(header)), (*entry).has_exceptions()) };
    if is_expired {
        return Judgement::Pass;
    }
    drop_unless_allowed(
        has_exceptions,
        || address,
        || {
            // SAFETY: as above; the field is aligned, and other CPUs add to it atomically too.
            unsafe { &*(&raw const (*entry).hits).cast::<SharedU64>() }.add(1);
        },
    )
}

#[inline(always)]
fn drop_unless_allowed(
    has_exceptions: bool,
    address: impl FnOnce() -> WideAddress,
    count: impl FnOnce(),
) -> Judgement {
    if has_exceptions && allowlist::covers(address()) {
        return Judgement::Excepted;
    }
    count();
    Judgement::Drop
}
