//! Every order in which packets and the writer of the block table may meet, and every value that the memory model
//! lets them see, tried by loom (after CDSChecker, Norris and Demsky 2013).
//!
//! The files of the crate are compiled once more, with numbers that loom watches. A grace period is a lock that a
//! packet holds while it is judged: what was written before is seen by whoever comes after. A number that is consulted is
//! an acquiring load here and a plain one in the kernel, where what is read next has its address from it. So a source that stands
//! blocked is never let through; one that is blocked anew right after its marks were cleared may, on processors that reorder
//! loads, be seen once more as it was before.
#![expect(dead_code, reason = "parts of the files that are not looked at")]
#![expect(clippy::unwrap_used, reason = "a test")]

use loom::sync::{Arc, Mutex};
use loom::thread;
use mitigator_common::{BlockMark, BlockOrigin, BlockRegion, BlockTerms, NEVER_EXPIRES, Seeds, Source};

#[path = "../src/block_table.rs"]
mod block_table;
#[path = "../src/block_writing.rs"]
mod block_writing;
#[path = "../src/instructions.rs"]
mod instructions;

/// The shared numbers of the crate, of loom's atomics.
mod shared {
    use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

    macro_rules! shared_number {
        ($name:ident, $number:ty, $atomic:ty) => {
            #[derive(Debug, Default)]
            pub struct $name($atomic);

            impl $name {
                pub fn add(&self, amount: $number) {
                    self.0.fetch_add(amount, Relaxed);
                }

                pub fn get(&self) -> $number {
                    self.0.load(Relaxed)
                }

                pub fn consult(&self) -> $number {
                    self.0.load(Acquire)
                }

                pub fn set(&self, value: $number) {
                    self.0.store(value, Relaxed);
                }

                pub fn publish(&self, value: $number) {
                    self.0.store(value, Release);
                }

                pub fn set_later(&self, value: $number) {
                    self.0.store(value, Release);
                }

                pub fn publish_sum(&self, amount: $number) {
                    self.0.fetch_add(amount, Release);
                }

                pub fn replace(&self, expected: $number, value: $number) -> bool {
                    self.0.compare_exchange(expected, value, AcqRel, Relaxed).is_ok()
                }
            }
        };
    }

    pub fn pause() {
        loom::thread::yield_now();
    }

    shared_number!(SharedU64, u64, loom::sync::atomic::AtomicU64);
    shared_number!(SharedU32, u32, loom::sync::atomic::AtomicU32);
}

use block_table::{Choice, LiveHits, LiveLine, LiveMarks, Memory, Standing, find};
use block_writing::CountedPlace;
use shared::SharedU64;

const ONE: Source = Source::from_v4_bytes([192, 0, 2, 1]);
const OTHER: Source = Source::from_v4_bytes([192, 0, 2, 2]);
/// Tables of two lines each, of which the seeds choose the first: with a word of marks, with the summary alone, and one that
/// gets marks when it grows.
const TABLES: [[BlockRegion; 2]; 3] = [
    [BlockRegion::new(0, 2).marked(), BlockRegion::new(4, 2).marked()],
    [BlockRegion::new(0, 2), BlockRegion::new(4, 2)],
    [BlockRegion::new(0, 2), BlockRegion::new(4, 2).marked()],
];
const SEEDS: Seeds = Seeds { first: 1, second: 1 };

fn terms(origin: BlockOrigin) -> BlockTerms {
    BlockTerms::new(NEVER_EXPIRES, origin)
}

/// The block table, and the lock that stands for the grace period.
struct Plane {
    regions: [BlockRegion; 2],
    region: SharedU64,
    summary: LiveMarks,
    lines: [LiveLine; 6],
    hits: [LiveHits; 6],
    marks: [LiveMarks; 2],
    judging: Mutex<()>,
}

impl Plane {
    fn new(regions: [BlockRegion; 2]) -> Self {
        let region = SharedU64::default();
        region.set(regions[0].bits());
        Self {
            regions,
            region,
            summary: LiveMarks::default(),
            lines: Default::default(),
            hits: Default::default(),
            marks: Default::default(),
            judging: Mutex::new(()),
        }
    }

    /// The terms by which a packet of the source is judged, as the kernel comes to them.
    fn judge(&self, source: Source) -> Option<BlockTerms> {
        let _judging = self.judging.lock().unwrap();
        let region = BlockRegion::from_bits(self.region.consult());
        match find(&self, region, source) {
            Standing::InLine(place) => {
                let terms = place.block.terms();
                place.block.add_hit(0, || Some(&self.hits[place.index as usize].others[place.position()]));
                Some(terms)
            }
            Standing::MaybeOverflowing => panic!("the line has free places"),
            Standing::Nowhere => None,
        }
    }

    fn wait_for_packets(&self) {
        drop(self.judging.lock().unwrap());
    }

    /// The first place of a line, which is free when none is taken.
    fn first_place_of(&self, line: usize) -> CountedPlace<'_> {
        CountedPlace { block: &self.lines[line].blocks[0], others: &self.hits[line].others[0] }
    }

    fn block(&self, source: Source, terms: BlockTerms) {
        let place = self.first_place_of(0);
        assert!(place.block.is_free());
        self.mark(self.regions[0], source);
        place.put(source, terms);
    }

    fn mark(&self, region: BlockRegion, source: Source) {
        let mark = region.mark_of(source, SEEDS.first);
        self.marks[mark.word as usize].set(mark);
        self.summary.set(BlockMark::in_summary(source, SEEDS.first));
    }

    /// Marks of one source are left, or of nobody.
    fn renew_marks(&self, source: Option<Source>) {
        let bits_of = |mark: fn(BlockRegion, Source) -> BlockMark| {
            source.map_or(0, |source| mark(self.regions[0], source).bit)
        };
        self.marks[0].renew(bits_of(|region, source| region.mark_of(source, SEEDS.first)));
        self.summary.renew(bits_of(|_, source| BlockMark::in_summary(source, SEEDS.first)));
    }

    /// Gives the place of the one source to the other.
    fn hand_over(&self, with_grace: bool) {
        let [line, ..] = &self.lines;
        let [place, ..] = &line.blocks;
        place.take_back();
        assert!(place.spend());
        if with_grace {
            self.wait_for_packets();
        }
        line.free_spent();
        self.renew_marks(None);
        self.block(OTHER, terms(BlockOrigin::Import));
        assert_eq!(place.source(), Some(OTHER));
    }
}

impl<'t> Memory<'t> for &'t Plane {
    fn summary(&self) -> &LiveMarks {
        &self.summary
    }

    fn seed(&self, choice: Choice) -> u64 {
        match choice {
            Choice::First => SEEDS.first,
            Choice::Second => SEEDS.second,
        }
    }

    fn line(&self, index: u32) -> Option<&'t LiveLine> {
        self.lines.get(index as usize)
    }

    fn marks(&self, word: u32) -> Option<&'t LiveMarks> {
        self.marks.get(word as usize)
    }
}

/// Tries everything with tables of each kind.
fn model_each(check: impl Fn([BlockRegion; 2]) + Copy + Send + Sync + 'static) {
    TABLES.into_iter().for_each(|regions| loom::model(move || check(regions)));
}

/// Packets of the one source while its place is taken, changed, and handed over to the other.
fn no_packet_is_judged_by_anothers_terms(with_grace: bool) {
    model_each(move |regions| {
        let plane = Arc::new(Plane::new(regions));
        plane.block(ONE, terms(BlockOrigin::Agent));
        let packets = Arc::clone(&plane);
        let packets = thread::spawn(move || {
            for _ in 0..2 {
                let found = packets.judge(ONE).unwrap_or_default();
                assert_ne!(found, terms(BlockOrigin::Import), "another's terms");
            }
            let found = packets.judge(OTHER).unwrap_or_default();
            assert_ne!(found, terms(BlockOrigin::Agent), "another's terms");
        });
        plane.hand_over(with_grace);
        packets.join().unwrap();
        assert_eq!(plane.judge(ONE), None);
        assert_eq!(plane.judge(OTHER), Some(terms(BlockOrigin::Import)));
    });
}

#[test]
fn a_place_that_is_handed_over_judges_nobody_wrongly() {
    no_packet_is_judged_by_anothers_terms(true);
}

/// That the test above can fail.
#[test]
#[should_panic(expected = "another's terms")]
fn without_a_grace_period_it_would() {
    no_packet_is_judged_by_anothers_terms(false);
}

#[test]
fn a_block_appears_whole_changes_at_once_and_goes() {
    model_each(|regions| {
        let plane = Arc::new(Plane::new(regions));
        let packets = Arc::clone(&plane);
        let packets = thread::spawn(move || {
            let known = [BlockTerms::NONE, terms(BlockOrigin::Agent), terms(BlockOrigin::Operator)];
            for _ in 0..2 {
                let found = packets.judge(ONE).unwrap_or_default();
                assert!(known.contains(&found), "half an entry");
            }
        });
        plane.block(ONE, terms(BlockOrigin::Agent));
        let [place, ..] = &plane.lines[0].blocks;
        place.change(terms(BlockOrigin::Operator));
        place.take_back();
        packets.join().unwrap();
        assert_eq!(plane.judge(ONE), Some(BlockTerms::NONE));
    });
}

#[test]
fn whose_mark_is_anothers_too_stays_blocked_when_that_one_goes() {
    model_each(|regions| {
        let plane = Arc::new(Plane::new(regions));
        plane.block(ONE, terms(BlockOrigin::Agent));
        let [line, ..] = &plane.lines;
        let [leaving, staying, ..] = &line.blocks;
        CountedPlace { block: staying, others: &plane.hits[0].others[1] }
            .put(OTHER, terms(BlockOrigin::Agent));
        let [one, other] = [ONE, OTHER].map(|source| regions[0].mark_of(source, SEEDS.first));
        assert_eq!(one, other);
        let [in_summary, others_too] = [ONE, OTHER].map(|source| BlockMark::in_summary(source, SEEDS.first));
        assert_eq!(in_summary, others_too);
        // Somebody else's, who is gone, too.
        let gone = [one, in_summary].map(|mark| BlockMark { bit: mark.bit << 1, ..mark });
        plane.marks[0].set(gone[0]);
        plane.summary.set(gone[1]);
        let packets = Arc::clone(&plane);
        let packets = thread::spawn(move || {
            for _ in 0..2 {
                assert_eq!(packets.judge(OTHER), Some(terms(BlockOrigin::Agent)), "let through");
            }
        });
        leaving.take_back();
        assert!(leaving.spend());
        plane.wait_for_packets();
        line.free_spent();
        plane.renew_marks(Some(OTHER));
        packets.join().unwrap();
        assert_eq!((plane.judge(ONE), leaving.source()), (None, None));
        assert!(!plane.marks[0].has(gone[0]) && !plane.summary.has(gone[1]));
    });
}

/// That marks are asked at all.
#[test]
fn who_has_no_mark_is_looked_for_only_where_there_are_none() {
    loom::model(|| {
        let [[marked, _], [summed_up, _], _] = TABLES;
        let plane = Plane::new([marked; 2]);
        plane.first_place_of(0).put(ONE, terms(BlockOrigin::Agent));
        assert_eq!(plane.judge(ONE), None, "without a mark");
        plane.summary.set(BlockMark::in_summary(ONE, SEEDS.first));
        assert_eq!(plane.judge(ONE), None, "with one of a table without others");
        plane.region.set(summed_up.bits());
        assert_eq!(plane.judge(ONE), Some(terms(BlockOrigin::Agent)));
        plane.renew_marks(None);
        assert_eq!(plane.judge(ONE), None, "without one there");
    });
}

#[test]
fn a_table_that_grows_never_lets_a_blocked_source_through() {
    model_each(|regions| {
        let plane = Arc::new(Plane::new(regions));
        plane.block(ONE, terms(BlockOrigin::Agent));
        let packets = Arc::clone(&plane);
        let packets = thread::spawn(move || {
            for _ in 0..2 {
                assert_eq!(packets.judge(ONE), Some(terms(BlockOrigin::Agent)), "let through");
            }
        });
        let [old, new] = [0, 4].map(|line| plane.first_place_of(line));
        plane.mark(regions[1], ONE);
        new.put(ONE, terms(BlockOrigin::Agent));
        plane.region.publish(regions[1].bits());
        plane.wait_for_packets();
        new.add_hits(old.hits());
        old.clear();
        plane.marks[0].clear();
        packets.join().unwrap();
        assert_eq!(new.hits(), 2, "a hit is lost");
    });
}

/// A block with as many hits as its owner, the CPU 0, counts before it carries them.
const COUNTED: u32 = 0xfffe;

/// Two packets of it on the one CPU while `meanwhile` goes on here; its hits beyond those before.
fn hits_beside(cpu: u32, meanwhile: impl Fn(CountedPlace<'_>)) -> u32 {
    let plane = Arc::new(Plane::new(TABLES[0]));
    plane.block(ONE, terms(BlockOrigin::Agent));
    let place = plane.first_place_of(0);
    drop_on(0, place);
    place.block.own.set(place.block.own.get() - 1 + COUNTED);
    let packets = Arc::clone(&plane);
    let packets = thread::spawn(move || (0..2).for_each(|_| drop_on(cpu, packets.first_place_of(0))));
    meanwhile(place);
    packets.join().unwrap();
    place.hits().wrapping_sub(COUNTED)
}

fn drop_on(cpu: u32, place: CountedPlace<'_>) {
    place.block.add_hit(cpu, || Some(place.others));
}

#[test]
fn two_cpus_that_drop_by_one_block_lose_no_hit() {
    loom::model(|| {
        let hits = hits_beside(0, |place| {
            drop_on(1, place);
            drop_on(1, place);
        });
        assert_eq!(hits, 4);
    });
}

#[test]
fn hits_that_are_carried_are_read_once() {
    loom::model(|| {
        let hits = hits_beside(0, |place| {
            let found = place.hits();
            assert!((COUNTED..=COUNTED + 2).contains(&found), "{found} hits");
        });
        assert_eq!(hits, 2);
    });
}

#[test]
fn a_block_that_is_renewed_begins_without_hits() {
    for cpu in [0, 1] {
        loom::model(move || {
            let hits = hits_beside(cpu, |place| place.renew(terms(BlockOrigin::Operator)));
            assert!(hits.wrapping_add(COUNTED) <= 2, "{hits} hits");
        });
    }
}

#[test]
fn one_cpu_owns_the_hits_of_a_block() {
    loom::model(|| {
        let plane = Arc::new(Plane::new(TABLES[0]));
        plane.block(ONE, terms(BlockOrigin::Agent));
        let packets = Arc::clone(&plane);
        let packets = thread::spawn(move || drop_on(1, packets.first_place_of(0)));
        drop_on(0, plane.first_place_of(0));
        packets.join().unwrap();
        assert_eq!(plane.first_place_of(0).hits(), 2);
    });
}
