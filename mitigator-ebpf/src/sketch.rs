//! `LiveSketch`: about how many packets each source has sent lately, in memory that does not grow with the sources.
//!
//! A count-min sketch (Cormode and Muthukrishnan, 2005) of two rows for each CPU, which alone writes it. What it tells
//! is never too little; too much by what others share both cells. Counts end with their epoch: the epoch stands in the
//! cell, so that nobody need wipe anything.

use crate::instructions::ones_if_negative;
use crate::shared::SharedU32;

/// Cells of a row.
const COLUMNS: usize = 1 << COLUMN_BITS;
const COLUMN_BITS: u32 = 14;
/// The count's part of a cell, far more than cells hold in the mean at any rate of packets; the rest is the epoch's, so
/// that an epoch comes again after 78 h.
const COUNT_BITS: u32 = 12;
const MOST: u32 = (1 << COUNT_BITS) - 1;
const EPOCHS: u32 = u32::MAX >> COUNT_BITS;
/// An epoch is 2^28 ns, 0.27 s.
const EPOCH_BITS: u32 = 28;
/// Packets in an epoch beyond which a source is heavy where no others share its cells, on one CPU: 15 a second, so that
/// one whose packets are spread over many CPUs is found, too.
const HEAVY: u32 = 4;
/// Epochs in which what was counted in a sketch may still be answered: 8.6 s.
const ANSWERED_WITHIN: u32 = 32;

/// The sketch of one CPU.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct LiveSketch {
    rows: [[SharedU32; COLUMNS]; 2],
    /// Of the first sketch alone: the epoch in which any CPU counted in its own last.
    latest: SharedU32,
}

/// The epoch that `now_ns` falls into, cut to what a cell holds.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "epochs are compared for equality only")]
pub const fn epoch_of(now_ns: u64) -> u32 {
    (now_ns >> EPOCH_BITS) as u32 & EPOCHS
}

/// Whether a source is heavy that the sketch counted `estimate` packets of, when it counted `sketched` in all: more than
/// half above what cells hold in the mean, which a cell of a crowd hardly comes to.
#[inline(always)]
#[must_use]
pub const fn is_heavy(estimate: u32, sketched: u32) -> bool {
    let others = sketched >> COLUMN_BITS;
    estimate > HEAVY + others + others / 2
}

impl LiveSketch {
    /// Remembers that a packet was counted here in the epoch, or a source lost its row, on whatever CPU.
    #[inline(always)]
    pub fn note_loss(&self, epoch: u32) {
        self.latest.set(epoch);
    }

    /// Whether that was so shortly before the epoch that answers to packets that are in no row now may be sent in it.
    #[inline(always)]
    #[must_use]
    pub fn lost_packets_before(&self, epoch: u32) -> bool {
        epoch.wrapping_sub(self.latest.get()) & EPOCHS < ANSWERED_WITHIN
    }

    /// Counts a packet of the source that has these two secret hashes, of which the upper bits tell; its packets in
    /// this epoch so far, or more.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of twelve bits")]
    pub fn add(&self, hashes: [u64; 2], epoch: u32) -> u32 {
        let [first, second] = &self.rows;
        let [one, other] = hashes;
        let (one, other) = (count(cell(first, one), epoch), count(cell(second, other), epoch));
        // The lesser. Nothing here is a jump, which a processor could not guess, and a verifier would go both ways.
        let difference = one - other;
        (other + (difference & ones_if_negative(difference))) as u32
    }
}

#[inline(always)]
fn cell(row: &[SharedU32; COLUMNS], hash: u64) -> &SharedU32 {
    #[expect(clippy::indexing_slicing, reason = "so few bits are left that no check is made")]
    &row[(hash >> (u64::BITS - COLUMN_BITS)) as usize & (COLUMNS - 1)]
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of twelve bits")]
fn count(cell: &SharedU32, epoch: u32) -> i64 {
    let found = cell.get();
    // All ones in the cell's epoch, and none in another one.
    let is_now = ones_if_negative(i64::from(found >> COUNT_BITS ^ epoch) - 1);
    let before = i64::from(found & MOST) & is_now;
    // One more, but for a cell that is full.
    let now = before - ones_if_negative(before - i64::from(MOST));
    cell.set(epoch << COUNT_BITS | now as u32);
    now
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::boxed::Box;

    use super::*;

    fn sketch() -> Box<LiveSketch> {
        // Two arrays of numbers that begin at zero.
        let row = || core::array::from_fn(|_| SharedU32::default());
        Box::new(LiveSketch { rows: [row(), row()], latest: SharedU32::default() })
    }

    fn hashes(source: u64) -> [u64; 2] {
        [source.wrapping_mul(0x9e37_79b9_7f4a_7c15), source.wrapping_mul(0xc4ce_b9fe_1a85_ec53)]
    }

    #[test]
    fn never_tells_too_little_and_forgets_when_the_epoch_ends() {
        let sketch = sketch();
        for round in 1..=40 {
            for source in 1..=1_000 {
                assert!(sketch.add(hashes(source), 7) >= round, "{source}");
            }
        }
        assert_eq!(sketch.add(hashes(5), 8), 1);
    }

    #[test]
    fn a_cell_that_is_full_stays_full_and_in_its_epoch() {
        let sketch = sketch();
        let last = (0..5_000).map(|_| sketch.add(hashes(5), EPOCHS)).last();
        assert_eq!(last, Some(MOST));
        assert_eq!([sketch.add(hashes(5), EPOCHS), sketch.add(hashes(5), 0)], [MOST, 1]);
    }

    #[test]
    fn the_lesser_of_both_cells_tells() {
        let [one, other] = hashes(5);
        // Others share the first cell, or the second.
        for shared in [[one, !other], [!one, other]] {
            let sketch = sketch();
            (0..7).for_each(|_| _ = sketch.add(shared, 3));
            assert_eq!(sketch.add([one, other], 3), 1);
        }
    }

    #[test]
    fn what_was_counted_a_quarter_of_an_hour_ago_is_forgotten() {
        let sketch = sketch();
        // After 2^40 ns, epochs of twelve bits would come again.
        for step in 0..200 {
            let epoch = epoch_of(step << 40);
            assert_eq!([sketch.add(hashes(5), epoch), sketch.add(hashes(5), epoch)], [1, 2], "step {step}");
        }
    }

    #[test]
    fn a_sketch_is_in_use_for_as_long_as_its_packets_may_be_answered() {
        let sketch = sketch();
        for last in [0, 77, EPOCHS] {
            sketch.note_loss(last);
            for (later, expected) in [(0, true), (1, true), (31, true), (32, false), (100_000, false)] {
                assert_eq!(
                    sketch.lost_packets_before((last + later) & EPOCHS),
                    expected,
                    "{later} after {last}"
                );
            }
        }
    }

    #[test]
    fn a_heavy_source_stands_out_of_any_crowd_and_none_of_the_crowd_does() {
        for crowd in [0_u64, 1_000, 100_000, 1_000_000] {
            let sketch = sketch();
            let (mut sketched, mut taken_for_heavy) = (0, 0);
            let mut heavy = false;
            let per_packet = crowd / 300 + 1;
            for number in 0..crowd.max(300) {
                if number < crowd {
                    sketched += 1;
                    taken_for_heavy += u32::from(is_heavy(sketch.add(hashes(number + 10), 3), sketched));
                }
                // 300 packets of one source among them.
                if number % per_packet == 0 {
                    sketched += 1;
                    heavy = is_heavy(sketch.add(hashes(1), 3), sketched);
                }
            }
            assert!(heavy, "not found among {crowd}");
            assert!(u64::from(taken_for_heavy) <= crowd / 100, "{taken_for_heavy} of {crowd}");
        }
    }
}
