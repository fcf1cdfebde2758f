//! That rows are found, made and exchanged one after the other as [`crate::source_table`] promises; what comes at once is
//! for `tests/rows.rs`, for which the file itself has no tests.

extern crate std;

use std::vec::Vec;

use mitigator_common::{RowMarks, Source, SourcePlace};

use crate::content::Content;
use crate::counters::{OwnersLine, RowDetails};
use crate::packet::{Transport, flags};
use crate::source_table::{
    Among, BUSY, Found, Glance, LiveBucket, Memory, ONES, RESTS_NS, RESTS_SHORTLY_NS, Rows, Wish, byte_of,
    find, glance, make,
};

const NOW_NS: u64 = 1 << 40;

/// Two buckets with their rows: the near one and the far one of everybody.
struct Table {
    buckets: [LiveBucket; 2],
    lines: Vec<OwnersLine>,
    details: Vec<RowDetails>,
}

impl<'t> Memory<'t> for &'t Table {
    fn bucket(&self, index: u32) -> Option<&'t LiveBucket> {
        self.buckets.get(index as usize)
    }

    fn line(&self, index: u32) -> Option<&'t OwnersLine> {
        self.lines.get(index as usize)
    }

    fn details(&self, index: u32) -> Option<&'t RowDetails> {
        self.details.get(index as usize)
    }
}

fn place(tag: u8) -> SourcePlace {
    SourcePlace { near: 0, far: 1, tag }
}

impl Table {
    fn new() -> Self {
        Self {
            buckets: Default::default(),
            lines: (0..16).map(|_| OwnersLine::default()).collect(),
            details: (0..16).map(|_| RowDetails::default()).collect(),
        }
    }

    fn find(&self, number: u32, tag: u8) -> Option<u32> {
        let found = find(&self, source(number), place(tag), Among::All).map(Found::index);
        // Who only glances sees the same, or that it is unclear.
        match glance(&self, source(number), place(tag), Among::All) {
            Glance::Row(line, index) => {
                assert_eq!(found, Some(index));
                assert!(core::ptr::eq(line, &raw const self.lines[index as usize]));
            }
            Glance::None => assert_eq!(found, None),
            Glance::Unclear => {}
        }
        found
    }

    /// The row and whether another source lost it.
    fn make(&self, number: u32, tag: u8, now_ns: u64, random: u32) -> Option<(u32, bool)> {
        let made = make(&self, source(number), place(tag), Wish::Stranger, now_ns, random)?;
        Some((made.row.index(), made.evicts))
    }
}

fn source(number: u32) -> Source {
    Source::from_v4_bytes(number.to_be_bytes())
}

#[test]
fn the_first_of_some_rows_is_told_by_its_number() {
    for mask in 1..=255_u64 {
        let bits = (0..8).filter(|row| mask >> row & 1 == 1).map(|row| byte_of(row, 0x80)).sum();
        assert_eq!(Rows(bits).first(), mask.trailing_zeros());
        assert_eq!(Rows(bits).rest().0.count_ones(), mask.count_ones() - 1);
    }
}

#[test]
fn sources_that_are_marked_alike_have_rows_of_their_own() {
    let table = Table::new();
    let tag_of = |number: u32| if number % 3 < 2 { 1 } else { 2 };
    for number in 0..16 {
        assert_eq!(table.find(number, tag_of(number)), None);
        assert_eq!(table.make(number, tag_of(number), NOW_NS, 0), Some((number, false)));
        if number == 3 {
            table.buckets[0].set_known(3, tag_of(3));
        }
        for known in 0..=number {
            assert_eq!(table.find(known, tag_of(known)), Some(known), "of {number}");
        }
    }
    for random in 0..64 {
        let made = table.make(99, 3, NOW_NS + RESTS_NS, random);
        assert_eq!(made, None, "all are in use and have not rested");
    }
    let seen_at_once = |number, tag, among| glance(&&table, source(number), place(tag), among);
    assert!(matches!(seen_at_once(0, 1, Among::All), Glance::Row(..)), "the first that is marked so");
    assert!(matches!(seen_at_once(1, 1, Among::All), Glance::Unclear), "the second");
    assert!(matches!(seen_at_once(0, 1, Among::Known), Glance::Unclear), "marked as one that is known");
    assert!(matches!(seen_at_once(2, 2, Among::Known), Glance::None), "nobody marked so is known");
    assert!(matches!(seen_at_once(0, 9, Among::All), Glance::None), "nobody is marked so");
    let known = |number| find(&&table, source(number), place(tag_of(number)), Among::Known);
    assert_eq!((known(3).map(Found::index), known(4)), (Some(3), None));
}

#[test]
fn a_row_that_rested_goes_to_another_source_but_connections_stay_longer() {
    let table = Table::new();
    let data = Content::from(Transport::tcp(80, 40_000, flags::ACK | flags::PSH, true));
    for number in 0..16 {
        assert!(table.make(number, 7, NOW_NS + u64::from(number), 0).is_some());
    }
    // The rows 0 and 1 are known, and this host has a connection with the source of the former.
    table.buckets[0].set_known(0, 7);
    table.buckets[0].set_known(1, 7);
    assert!((&table).row(0).unwrap().record_sent(data, NOW_NS, || true));
    let later = NOW_NS + RESTS_NS + 100;
    // Zero stands for the rows 0 and 1, one for 1 and 2, of which the former has another source by then.
    assert_eq!(table.make(20, 7, later, 0), Some((1, true)));
    assert_eq!((table.find(1, 7), table.find(0, 7), table.find(20, 7)), (None, Some(0), Some(1)));
    assert_eq!(table.make(21, 7, later, 1), Some((2, true)));
    assert_eq!(table.make(22, 7, later, 1), Some((9, true)), "both near ones are new");
    let much_later = NOW_NS + (RESTS_NS << 6);
    for index in 1..16 {
        (&table).row(index).unwrap().begin(source(12), much_later, RowMarks::NONE);
    }
    assert_eq!(table.make(23, 7, much_later, 0), Some((0, true)));
    assert!(table.buckets[0].tags().known().are_none(), "nobody inherits that he is known");
}

#[test]
fn a_heavy_source_gets_a_row_of_a_table_that_is_kept_full() {
    let table = Table::new();
    for number in 0..16 {
        assert!(table.make(number, 7, NOW_NS, 0).is_some());
        table.buckets[number as usize / 8].set_known(number % 8, 7);
    }
    let soon = NOW_NS + RESTS_SHORTLY_NS + 1;
    assert_eq!(table.make(20, 7, soon, 0), None, "for a stranger, none has rested");
    let made = make(&&table, source(20), place(7), Wish::Promoted, soon, 0);
    assert_eq!(made.map(|made| (made.row.index(), made.evicts)), Some((0, true)));
}

#[test]
fn nobody_makes_a_row_where_another_is_being_made() {
    let table = Table::new();
    table.buckets[0].tags.set(byte_of(0, BUSY));
    assert_eq!(table.make(1, 7, NOW_NS, 0), None);
    table.buckets[0].tags.set(ONES);
    table.buckets[1].tags.set(byte_of(4, BUSY));
    assert_eq!(table.make(1, 7, NOW_NS, 0), None);
    assert!(!table.buckets[1].tags().is_in_use(4));
}
