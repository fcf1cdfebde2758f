//! Rows that have been quiet for a while, packed: most of their numbers are zero or small, so that a million of them need
//! a quarter of the memory that they are read into.

use mitigator_common::{Source, SourceCounters};

/// Rows, each in a slot of the size that it needs.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Slots of a size lie together, so that those that are given back fit who comes next.
    sizes: Vec<Slots>,
}

/// Which slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// In steps of [`STEP`].
    pub(super) size: u32,
    pub(super) index: u32,
}

/// A row as it is to be had again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) source: Source,
    pub(super) counters: SourceCounters,
    /// Ports of the epoch before that of `counters`.
    pub(super) earlier_port_bits: u64,
}

#[derive(Debug, Default)]
struct Slots {
    bytes: Vec<u8>,
    free: Vec<u32>,
}

/// Sizes differ by so many bytes.
const STEP: usize = 4;
const COUNTER_WORDS: usize = size_of::<SourceCounters>() / 4;
/// Source, earlier ports and counters, in words of 32 bits.
const WORDS: usize = 4 + COUNTER_WORDS;
/// A bit for each word that is not zero.
const MASK_BYTES: usize = WORDS.div_ceil(8);
/// Mask, two bits for the length of each word, and all words in full.
const MOST_BYTES: usize = MASK_BYTES + WORDS.div_ceil(4) + WORDS * 4;

impl Settled {
    pub(super) fn put(&mut self, row: &Row) -> Slot {
        let mut packed = [0; MOST_BYTES + STEP];
        let steps = pack(row, &mut packed).div_ceil(STEP);
        if self.sizes.len() <= steps {
            self.sizes.resize_with(steps + 1, Slots::default);
        }
        let size = u32::try_from(steps).unwrap_or(u32::MAX);
        let (bytes, Some(slots)) = (steps * STEP, self.sizes.get_mut(steps)) else {
            return Slot { size, index: u32::MAX };
        };
        let packed = packed.get(..bytes).unwrap_or_default();
        if let Some(index) = slots.free.pop() {
            let start = index as usize * bytes;
            if let Some(slot) = slots.bytes.get_mut(start..start + bytes) {
                slot.copy_from_slice(packed);
            }
            return Slot { size, index };
        }
        let index = u32::try_from(slots.bytes.len() / bytes).unwrap_or(u32::MAX);
        slots.bytes.extend_from_slice(packed);
        Slot { size, index }
    }

    /// `None` where nothing was put.
    pub(super) fn get(&self, slot: Slot) -> Option<Row> {
        let bytes = slot.size as usize * STEP;
        let start = slot.index as usize * bytes;
        unpack(self.sizes.get(slot.size as usize)?.bytes.get(start..start + bytes)?)
    }

    /// Gives a slot back.
    pub(super) fn free(&mut self, slot: Slot) {
        if let Some(slots) = self.sizes.get_mut(slot.size as usize) {
            slots.free.push(slot.index);
        }
    }
}

/// Writes a row; how many bytes it takes.
fn pack(row: &Row, packed: &mut [u8; MOST_BYTES + STEP]) -> usize {
    let words = words_of(row);
    let used = words.iter().filter(|word| **word != 0).count();
    let mut at = MASK_BYTES + used.div_ceil(4);
    let (mut mask, mut number) = (0_u64, 0);
    for (index, word) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
        mask |= 1 << index;
        // 0 to 3, for one byte to four.
        let length = (31 - word.leading_zeros()) / 8;
        if let Some(lengths) = packed.get_mut(MASK_BYTES + number / 4) {
            #[expect(clippy::cast_possible_truncation, reason = "two bits")]
            let bits = (length as u8) << (number % 4 * 2);
            *lengths |= bits;
        }
        // What is too much of it is overwritten by the next, or stays zero.
        if let Some(place) = packed.get_mut(at..at + 4) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        at += length as usize + 1;
        number += 1;
    }
    packed[..MASK_BYTES].copy_from_slice(&mask.to_le_bytes()[..MASK_BYTES]);
    at
}

fn unpack(packed: &[u8]) -> Option<Row> {
    let mut mask_bytes = [0; 8];
    mask_bytes[..MASK_BYTES].copy_from_slice(packed.get(..MASK_BYTES)?);
    let mut mask = u64::from_le_bytes(mask_bytes);
    let lengths = packed.get(MASK_BYTES..)?;
    let mut rest = lengths.get((mask.count_ones() as usize).div_ceil(4)..)?;
    let mut words = [0_u32; WORDS];
    let mut number = 0;
    while mask != 0 {
        let length = usize::from(lengths.get(number / 4)? >> (number % 4 * 2) & 3) + 1;
        let (bytes, after) = rest.split_at_checked(length)?;
        let mut word = [0; 4];
        word[..length].copy_from_slice(bytes);
        *words.get_mut(mask.trailing_zeros() as usize)? = u32::from_le_bytes(word);
        rest = after;
        mask &= mask - 1;
        number += 1;
    }
    Some(row_of(&words))
}

/// The words of a row, times and epochs as what they are beside another, which is little.
fn words_of(row: &Row) -> [u32; WORDS] {
    let Row { source, mut counters, earlier_port_bits } = *row;
    let epoch = SourceCounters::ports_epoch_of(counters.last_seen_ns);
    counters.ports_epoch = counters.ports_epoch.wrapping_sub(epoch);
    counters.last_seen_ns = counters.last_seen_ns.wrapping_sub(counters.first_seen_ns);
    let mut words = [0; WORDS];
    let beside: [u32; 4] = bytemuck::cast([source.number(), earlier_port_bits]);
    let counters: [u32; COUNTER_WORDS] = bytemuck::cast(counters);
    words[..4].copy_from_slice(&beside);
    words[4..].copy_from_slice(&counters);
    words
}

fn row_of(words: &[u32; WORDS]) -> Row {
    let (mut beside, mut counters) = ([0; 4], [0; COUNTER_WORDS]);
    beside.copy_from_slice(&words[..4]);
    counters.copy_from_slice(&words[4..]);
    let [number, earlier_port_bits]: [u64; 2] = bytemuck::cast(beside);
    let mut counters: SourceCounters = bytemuck::cast(counters);
    counters.last_seen_ns = counters.last_seen_ns.wrapping_add(counters.first_seen_ns);
    let epoch = SourceCounters::ports_epoch_of(counters.last_seen_ns);
    counters.ports_epoch = counters.ports_epoch.wrapping_add(epoch);
    Row { source: Source::from_number(number), counters, earlier_port_bits }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_one_packet_leaves_needs_a_quarter_of_the_memory() {
        let counters = SourceCounters {
            packets: 1,
            bytes: 60,
            first_seen_ns: 86_400_000_000_123,
            last_seen_ns: 86_400_000_000_123,
            port_bits: 1 << 50,
            ports_epoch: SourceCounters::ports_epoch_of(86_400_000_000_123),
            tcp_syn_packets: 1,
            destination_port: 443,
            ..SourceCounters::EMPTY
        };
        let row = Row { source: Source::from_v4_bytes([192, 0, 2, 7]), counters, earlier_port_bits: 0 };
        let slot = Settled::default().put(&row);
        assert!(slot.size as usize * STEP * 4 <= size_of::<Row>(), "{slot:?}");
    }

    #[test]
    fn slots_that_are_given_back_are_used_again() {
        let mut settled = Settled::default();
        let row = |packets: u64| Row {
            source: Source::from_v4_bytes([192, 0, 2, 7]),
            counters: SourceCounters { packets, ..SourceCounters::EMPTY },
            earlier_port_bits: 0,
        };
        let slots = [1, 2, 3].map(|packets| settled.put(&row(packets)));
        settled.free(slots[1]);
        assert_eq!(settled.put(&row(9)), slots[1]);
        let packets = slots.map(|slot| settled.get(slot).map(|row| row.counters.packets));
        assert_eq!(packets, [Some(1), Some(9), Some(3)]);
        assert_eq!(settled.get(Slot { size: 700, index: 0 }), None);
    }

    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), 0..300_u32, any::<u32>()]
    }

    proptest! {
        #[test]
        fn every_row_comes_back_as_it_was(words in proptest::collection::vec(number(), WORDS)) {
            let mut settled = Settled::default();
            let words: [u32; WORDS] = words.try_into().unwrap();
            let row = row_of(&words);
            let slots = [settled.put(&row), settled.put(&row)];
            for slot in slots {
                prop_assert_eq!(settled.get(slot), Some(row));
            }
        }
    }
}
