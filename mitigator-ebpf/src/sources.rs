//! Finds or makes the row of a source and counts a packet into it, as long as rows cost little.
//!
//! While sources are few, each has its row. Once more new ones come than there is a budget for, they are a crowd: known
//! sources go on to be counted one by one, all others in a sketch, until that says that they are heavy.
#![expect(unsafe_code, reason = "reads and counts through map value pointers; names of functions")]

use mitigator_common::{Outcome, Seeds, Source, SourcePlace, SourceTable};
use mitigator_ebpf::block_table::LiveHeader;
use mitigator_ebpf::content::Content;
use mitigator_ebpf::counters::{OwnersLine, RowDetails, asks};
use mitigator_ebpf::sketch::{LiveSketch, epoch_of, is_heavy};
use mitigator_ebpf::source_table::{self, Among, Found, Glance, LiveBucket, Memory, Wish, may_have_row};

use crate::cpu_state::{Budget, LiveCpuState};
use crate::maps::{SKETCHES, SOURCE_BUCKETS, SOURCE_DETAILS, SOURCE_ROWS};
use crate::{blocklist, clock};

/// No row.
const NO_ROW: u32 = u32::MAX;

/// Counts the packet for its source, and what became of it.
#[inline(always)]
pub fn count(header: &LiveHeader, state: &LiveCpuState, source: Source, content: Content, wire_bytes: u64) {
    let now_ns = clock::now_ns(header);
    let among = state.counts_among(now_ns);
    // `NO_ROW` is past the end of the map, so that it gives none.
    let row = match source_table::glance(&Maps, source, place_of(header, source), among) {
        Glance::Row(line, index) => Some((line, index)),
        Glance::Unclear => line_of(row_by_every_tag(source.number(), now_ns)),
        Glance::None if matches!(among, Among::All) => line_of(row_of_stranger(source.number(), now_ns)),
        Glance::None => match weigh(header, state, source, now_ns) {
            // Of a forged flood, all but few.
            Weight::Light if !state.has_left(Budget::Strangers, now_ns) => None,
            weight => line_of(row_in_crowd(source.number(), weight as u32, now_ns)),
        },
    };
    if let Some((line, index)) = row {
        line.record(state.cpu.get(), content, wire_bytes, now_ns, || Maps.details(index));
    }
    state.count(if row.is_some() { Outcome::PassCounted } else { Outcome::PassUncounted });
}

/// Counts a packet that this host sent to the source. A packet that asks for something makes the row, so
/// that the answer is known to be one.
#[inline(always)]
pub fn count_sent(source: Source, content: Content) {
    count_left(source.number(), content.to_bits());
}

/// Whether the source was there before `since_ns`, or this host asked it for something or has a connection with it.
#[inline(always)]
pub fn is_known(source: Source, since_ns: u64) -> bool {
    has_known_row(source.number(), since_ns) != 0
}

// The next functions are global for the verifier, which looks at each once, whatever the packet was like before.

/// The row into which to count a packet of a source, found by looking at all rows that have its tag; [`NO_ROW`] for none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn row_by_every_tag(source: u64, now_ns: u64) -> u32 {
    let (Some(header), Some(state)) = (blocklist::header(), LiveCpuState::this()) else {
        return NO_ROW;
    };
    let source = Source::from_number(source);
    match source_table::find(&Maps, source, place_of(header, source), state.counts_among(now_ns)) {
        Some(found) => found.index(),
        None => row_of_stranger(source.number(), now_ns),
    }
}

/// [`count_sent`]; 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn count_left(source: u64, content: u64) -> u32 {
    let (Some(header), Some(state)) = (blocklist::header(), LiveCpuState::this()) else {
        return 0;
    };
    let (source, content) = (Source::from_number(source), Content::from_bits(content));
    let now_ns = clock::now_ns(header);
    let place = place_of(header, source);
    let found = match source_table::find(&Maps, source, place, Among::All) {
        None if asks(content) => make(state, place, source, Budget::Asked, now_ns),
        found => found,
    };
    let has_all = || sketch_of(0).is_some_and(|first| !first.lost_packets_before(epoch_of(now_ns)));
    if let Some(found) = found
        && Maps.row(found.index()).is_some_and(|row| row.record_sent(content, now_ns, has_all))
    {
        set_known(found, place);
    }
    0
}

/// [`is_known`]; 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn has_known_row(source: u64, since_ns: u64) -> u32 {
    let Some(header) = blocklist::header() else {
        return 0;
    };
    let source = Source::from_number(source);
    let found = source_table::find(&Maps, source, place_of(header, source), Among::All);
    u32::from(found.and_then(|found| Maps.row(found.index())).is_some_and(|row| row.is_known(since_ns)))
}

/// The row into which to count a packet of a source that has none, or none that is counted into while sources are a
/// crowd; [`NO_ROW`] for none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn row_of_stranger(source: u64, now_ns: u64) -> u32 {
    let (Some(header), Some(state)) = (blocklist::header(), LiveCpuState::this()) else {
        return NO_ROW;
    };
    choose_row(header, state, Source::from_number(source), now_ns).map_or(NO_ROW, Found::index)
}

/// [`row_of_stranger`] of one that was weighed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn row_in_crowd(source: u64, weight: u32, now_ns: u64) -> u32 {
    let (Some(header), Some(state)) = (blocklist::header(), LiveCpuState::this()) else {
        return NO_ROW;
    };
    let (source, weight) = (Source::from_number(source), Weight::of(weight == Weight::Heavy as u32));
    choose_row_by_weight(header, state, source, weight, now_ns).map_or(NO_ROW, Found::index)
}

#[inline(always)]
fn choose_row(header: &LiveHeader, state: &LiveCpuState, source: Source, now_ns: u64) -> Option<Found> {
    if !state.is_crowded(now_ns)
        && let Some(made) = make(state, place_of(header, source), source, Budget::Strangers, now_ns)
    {
        return Some(made);
    }
    let weight = weigh(header, state, source, now_ns);
    choose_row_by_weight(header, state, source, weight, now_ns)
}

#[inline(always)]
fn choose_row_by_weight(
    header: &LiveHeader,
    state: &LiveCpuState,
    source: Source,
    weight: Weight,
    now_ns: u64,
) -> Option<Found> {
    let place = place_of(header, source);
    if weight == Weight::Heavy {
        let found = match source_table::find(&Maps, source, place, Among::All) {
            None => make(state, place, source, Budget::Heavy, now_ns),
            found => found,
        }?;
        set_known(found, place);
        return Some(found);
    }
    // A light one that has its row is not to get another, nor one that has just found none.
    if !state.is_crowded(now_ns) || !state.has_left(Budget::Strangers, now_ns) || may_have_row(&Maps, place) {
        return None;
    }
    make(state, place, source, Budget::Strangers, now_ns)
}

/// How much of a crowd's packets come from a source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// As much as from any other.
    Light = 0,
    /// So much that it is to be counted by itself.
    Heavy = 1,
}

impl Weight {
    #[inline(always)]
    const fn of(is_heavy: bool) -> Self {
        if is_heavy { Self::Heavy } else { Self::Light }
    }
}

/// Counts the packet of a source without a row in the sketch, and tells what that says of it.
#[inline(always)]
fn weigh(header: &LiveHeader, state: &LiveCpuState, source: Source, now_ns: u64) -> Weight {
    let Seeds { first, second } = seeds_of(header);
    let number = state.lose_sight_of(source.number());
    let hashes = [first, second].map(|seed| number.wrapping_mul(seed));
    let epoch = epoch_of(now_ns);
    let sketched = state.count_sketched(epoch);
    if sketched == 1 {
        note_loss(epoch);
    }
    match sketch_of(state.cpu.get()) {
        Some(sketch) => Weight::of(is_heavy(sketch.add(hashes, epoch), sketched)),
        None => Weight::Light,
    }
}

/// Makes the row of a source.
#[inline(always)]
fn make(
    state: &LiveCpuState,
    place: SourcePlace,
    source: Source,
    budget: Budget,
    now_ns: u64,
) -> Option<Found> {
    if !state.take(budget, now_ns) {
        return None;
    }
    // Whoever is to lose a row is nobody's to choose: tags are secret.
    let random = u32::from(place.tag) ^ state.made_in_tick();
    let wish = if budget == Budget::Strangers { Wish::Stranger } else { Wish::Promoted };
    let made = source_table::make(&Maps, source, place, wish, now_ns, random)?;
    if made.evicts {
        state.count_evicted();
        // Whoever lost it may get another, which has not all that came of it.
        note_loss(epoch_of(now_ns));
    }
    Some(made.row)
}

/// Remembers that packets of some source are in no row, or in one that it lost: what came of a source in a crowd.
#[inline(always)]
fn note_loss(epoch: u32) {
    if let Some(first) = sketch_of(0) {
        first.note_loss(epoch);
    }
}

#[inline(always)]
fn set_known(found: Found, place: SourcePlace) {
    if let Some(bucket) = Maps.bucket(found.bucket) {
        bucket.set_known(found.row, place.tag);
    }
}

/// The table's memory.
struct Maps;

impl Memory<'static> for Maps {
    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<&'static LiveBucket> {
        let bucket = SOURCE_BUCKETS.get_ptr(index)?;
        // SAFETY: the map is never freed while the program runs, and its values are shared numbers.
        Some(unsafe { &*bucket })
    }

    #[inline(always)]
    fn line(&self, index: u32) -> Option<&'static OwnersLine> {
        let line = SOURCE_ROWS.get_ptr(index)?;
        // SAFETY: as above.
        Some(unsafe { &*line })
    }

    #[inline(always)]
    fn details(&self, index: u32) -> Option<&'static RowDetails> {
        let details = SOURCE_DETAILS.get_ptr(index)?;
        // SAFETY: as above.
        Some(unsafe { &*details })
    }
}

#[inline(always)]
fn line_of(index: u32) -> Option<(&'static OwnersLine, u32)> {
    Some((Maps.line(index)?, index))
}

#[inline(always)]
fn place_of(header: &LiveHeader, source: Source) -> SourcePlace {
    SourceTable::new(header.buckets.get()).place_of(source, seeds_of(header))
}

#[inline(always)]
fn seeds_of(header: &LiveHeader) -> Seeds {
    Seeds { first: header.first_seed.get(), second: header.second_seed.get() }
}

#[inline(always)]
fn sketch_of(cpu: u32) -> Option<&'static LiveSketch> {
    let sketch = SKETCHES.get_ptr(cpu)?;
    // SAFETY: as for buckets.
    Some(unsafe { &*sketch })
}
