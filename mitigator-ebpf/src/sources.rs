//! Finds or makes the row of a source and counts a packet into it.
#![expect(unsafe_code, reason = "counts through a map value pointer")]

use aya_ebpf::bindings::BPF_NOEXIST;
use mitigator_common::{Outcome, Source, SourceCounters};
use mitigator_ebpf::block_table::LiveHeader;
use mitigator_ebpf::counters::{LiveCounters, asks};
use mitigator_ebpf::packet::Packet;

use crate::clock;
use crate::maps::SOURCE_COUNTERS;

/// What a row starts as; in read-only memory, because the stack has only 512 bytes.
static EMPTY_ROW: SourceCounters = SourceCounters::EMPTY;

/// Counts the packet for its source.
#[inline(always)]
pub fn count(header: &LiveHeader, packet: &Packet, wire_bytes: u64) -> Outcome {
    let now_ns = clock::now_ns(header);
    let Some(row) = find(&packet.source).or_else(|| make(&packet.source, now_ns)) else {
        return Outcome::PassUncounted;
    };
    row.record(packet, wire_bytes, now_ns);
    Outcome::PassCounted
}

/// Counts a packet that this host sent to the source. A packet that asks for something makes the row, so
/// that the answer is known to be one.
#[inline(always)]
pub fn count_sent(header: &LiveHeader, packet: &Packet) {
    let now_ns = clock::now_ns(header);
    let row = find(&packet.source).or_else(|| if asks(packet) { make(&packet.source, now_ns) } else { None });
    if let Some(row) = row {
        row.record_sent(packet, now_ns);
    }
}

/// Whether the source was there before `since_ns`, or this host asked or answered it.
#[inline(always)]
pub fn is_known(source: &Source, since_ns: u64) -> bool {
    find(source).is_some_and(|row| row.is_known(since_ns))
}

#[inline(always)]
fn find(source: &Source) -> Option<&'static LiveCounters> {
    let row = SOURCE_COUNTERS.get_ptr_mut(source)?;
    // SAFETY: the value pointer stays valid until the program returns, `LiveCounters` has the layout
    // of the value, and every writer goes through it.
    Some(unsafe { &*row.cast::<LiveCounters>() })
}

#[inline(always)]
fn make(source: &Source, now_ns: u64) -> Option<&'static LiveCounters> {
    let is_made = SOURCE_COUNTERS.insert(source, &EMPTY_ROW, u64::from(BPF_NOEXIST)).is_ok();
    // When another CPU was first, its row serves as well.
    let row = find(source)?;
    if is_made {
        row.first_seen_ns.set(now_ns);
        row.last_seen_ns.set(now_ns);
    }
    Some(row)
}
