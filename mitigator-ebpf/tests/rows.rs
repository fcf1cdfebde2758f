//! Every order in which CPUs may meet that find, make, exchange and mark rows of the source table, and every value that the
//! memory model lets them see, tried by loom as in `interleavings.rs`.
//!
//! The file of the crate is compiled once more, with numbers that loom watches, and with rows that count nothing but whose
//! they are: of what is counted, loom would try far too much.
#![expect(dead_code, reason = "parts of the file that are not looked at")]

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use mitigator_common::{Source, SourcePlace, SourceTable};

#[path = "../src/source_table.rs"]
mod source_table;

/// The shared numbers of the crate, of loom's atomics.
mod shared {
    use loom::sync::atomic::AtomicU64;
    use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

    #[derive(Debug, Default)]
    pub struct SharedU64(AtomicU64);

    impl SharedU64 {
        pub fn get(&self) -> u64 {
            self.0.load(Relaxed)
        }

        pub fn consult(&self) -> u64 {
            self.0.load(Acquire)
        }

        pub fn set(&self, value: u64) {
            self.0.store(value, Relaxed);
        }

        pub fn publish(&self, value: u64) {
            self.0.store(value, Release);
        }

        pub fn replace(&self, expected: u64, value: u64) -> bool {
            self.0.compare_exchange(expected, value, AcqRel, Relaxed).is_ok()
        }

        pub fn publish_sum(&self, amount: u64) {
            self.0.fetch_add(amount, Release);
        }
    }
}

/// Rows of sources that are never heard of again.
mod counters {
    use mitigator_common::{RowMarks, Source};

    use crate::shared::SharedU64;

    #[derive(Debug, Default)]
    pub struct OwnersLine {
        source: SharedU64,
    }

    #[derive(Debug)]
    pub struct RowDetails;

    #[derive(Clone, Copy)]
    pub struct LiveRow<'t>(&'t OwnersLine);

    impl OwnersLine {
        pub fn is_of(&self, source: Source) -> bool {
            self.source.get() == source.number()
        }
    }

    impl<'t> LiveRow<'t> {
        pub const fn new(line: &'t OwnersLine, _: &'t RowDetails) -> Self {
            Self(line)
        }

        pub fn source(self) -> Source {
            Source::from_number(self.0.source.consult())
        }

        pub fn begin(self, source: Source, _: u64, _: RowMarks) {
            self.0.source.publish(Source::BEING_MADE.number());
            self.0.source.publish(source.number());
        }

        pub fn last_seen_ns(self) -> u64 {
            0
        }

        pub fn has_connection(self) -> bool {
            false
        }
    }
}

use counters::{OwnersLine, RowDetails};
use source_table::{Among, Found, LiveBucket, Memory, Wish, find, make};

/// When all rows have rested.
const LATER_NS: u64 = 1 << 40;
/// What the rows of a full bucket are marked with: the first by the least, so that what is carried out of it shows, and the
/// next by the most.
const TAGS: [u8; 8] =
    [SourceTable::LEAST_TAG, SourceTable::MOST_TAG, SourceTable::MOST_TAG, SourceTable::MOST_TAG, 2, 2, 2, 2];

/// Two buckets with their rows.
#[derive(Default)]
struct Table {
    buckets: [LiveBucket; 2],
    lines: [OwnersLine; 16],
}

impl<'t> Memory<'t> for &'t Table {
    fn bucket(&self, index: u32) -> Option<&'t LiveBucket> {
        self.buckets.get(index as usize)
    }

    fn line(&self, index: u32) -> Option<&'t OwnersLine> {
        self.lines.get(index as usize)
    }

    fn details(&self, _: u32) -> Option<&'t RowDetails> {
        Some(&RowDetails)
    }
}

fn source(number: u32) -> Source {
    Source::from_v4_bytes(number.to_be_bytes())
}

impl Table {
    /// With the first bucket full, of the sources 0 to 7.
    fn half_full() -> Self {
        let table = Self::default();
        for (number, tag) in (0..).zip(TAGS) {
            let place = SourcePlace { near: 0, far: 1, tag };
            assert_eq!(table.make(number, place, 0), Some(number));
        }
        table
    }

    /// With both full; the second of the sources 8 to 15.
    fn full() -> Self {
        let table = Self::half_full();
        for number in 8..16 {
            let place = SourcePlace { near: 1, far: 0, tag: 3 };
            assert_eq!(table.make(number, place, 0), Some(number));
        }
        table
    }

    fn make(&self, number: u32, place: SourcePlace, now_ns: u64) -> Option<u32> {
        let made = make(&self, source(number), place, Wish::Stranger, now_ns, 0)?;
        Some(made.row.index())
    }

    fn find(&self, number: u32, place: SourcePlace) -> Option<u32> {
        find(&self, source(number), place, Among::All).map(Found::index)
    }

    /// As a packet to the source does that goes on with a connection.
    fn set_known(&self, number: u32, place: SourcePlace) {
        if let Some(found) = find(&self, source(number), place, Among::All) {
            self.buckets[found.bucket as usize].set_known(found.row, place.tag);
        }
    }

    fn is_known(&self, number: u32, place: SourcePlace) -> bool {
        find(&self, source(number), place, Among::Known).is_some()
    }

    /// Whether all rows of the first bucket are in use, and those from `first` on its former sources' yet.
    fn is_whole_from(&self, first: u32) -> bool {
        let tags = self.buckets[0].tags();
        (0..8).all(|row| tags.is_in_use(row))
            && (first..8).zip(&TAGS[first as usize..]).all(|(number, tag)| {
                self.find(number, SourcePlace { near: 0, far: 1, tag: *tag }) == Some(number)
            })
    }
}

/// Tries every order of so few exchanges of the scheduler that a defect is known to need.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

/// The first source of the full bucket.
const FIRST: SourcePlace = SourcePlace { near: 0, far: 1, tag: TAGS[0] };
/// Another that has its place there; 0 at random stands for the rows 0 and 1, of which it gets the first.
const STRANGER: SourcePlace = SourcePlace { near: 0, far: 1, tag: 9 };

#[test]
fn a_source_that_comes_on_two_cpus_has_one_row() {
    for (fill, is_full) in
        [(Table::default as fn() -> Table, false), (Table::half_full, false), (Table::full, true)]
    {
        model(move || {
            let table = Arc::new(fill());
            let other = Arc::clone(&table);
            let other = thread::spawn(move || other.make(20, STRANGER, LATER_NS));
            let made = [table.make(20, STRANGER, LATER_NS), other.join().unwrap()];
            let found = table.find(20, STRANGER);
            let counts = made.iter().flatten().count();
            assert!(counts >= 1 || is_full, "nobody made it");
            assert!(counts <= 1 || is_full && made[0] == made[1], "two rows: {made:?}");
            assert!(found.is_none() || made.contains(&found), "{found:?} of {made:?}");
        });
    }
}

#[test]
fn a_row_that_goes_to_another_source_takes_nothing_along() {
    model(|| {
        let table = Arc::new(Table::full());
        let other = Arc::clone(&table);
        let other = thread::spawn(move || other.set_known(0, FIRST));
        let made = table.make(20, STRANGER, LATER_NS);
        other.join().unwrap();
        // Where the mark came first, the word has changed, and nobody takes the row.
        if made == Some(0) {
            assert!(!table.is_known(20, STRANGER), "inherits that it is known");
            assert!(table.is_whole_from(1), "a neighbour's tag has changed");
        } else {
            assert!(made.is_none() && table.is_known(0, FIRST), "{made:?}");
            assert!(table.is_whole_from(0), "a neighbour's tag has changed");
        }
    });
}

#[test]
fn a_row_that_is_given_back_is_as_it_was() {
    for is_known in [false, true] {
        model(move || {
            let table = Arc::new(Table::full());
            if is_known {
                table.set_known(0, FIRST);
            }
            let (marking, making) = (Arc::clone(&table), Arc::clone(&table));
            let marking = thread::spawn(move || marking.set_known(0, FIRST));
            // While one is made in the other bucket, a row that was taken in the first is given back; or both are.
            let making =
                thread::spawn(move || making.make(30, SourcePlace { near: 1, far: 0, tag: 5 }, LATER_NS));
            let made = table.make(20, STRANGER, LATER_NS);
            marking.join().unwrap();
            let made_there = making.join().unwrap();
            assert!(made_there.is_none() || made_there == Some(8), "{made_there:?}");
            assert!(made.is_none() || made == Some(0), "{made:?}");
            assert!(table.is_whole_from(u32::from(made.is_some())), "a neighbour's tag has changed");
            if made.is_some() {
                assert!(!table.is_known(20, STRANGER), "inherits that it is known");
            } else {
                assert!(!is_known || table.is_known(0, FIRST), "is forgotten to be known");
            }
        });
    }
}

#[test]
fn sources_of_a_bucket_become_known_at_once() {
    model(|| {
        let table = Arc::new(Table::half_full());
        let second = SourcePlace { tag: TAGS[1], ..FIRST };
        let other = Arc::clone(&table);
        let other = thread::spawn(move || other.set_known(1, second));
        table.set_known(0, FIRST);
        other.join().unwrap();
        assert!(table.is_known(0, FIRST) && table.is_known(1, second), "one is forgotten");
        assert!(table.is_whole_from(0));
    });
}
