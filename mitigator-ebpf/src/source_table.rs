//! Finds and makes the row of a source in the source table, whose layout `mitigator_common` tells.
//!
//! Whoever makes a row, on any CPU, first takes its place: the byte that marks it becomes `BUSY`, by one exchange of
//! the bucket's word, which fails when anybody changed any of the eight meanwhile. Who takes one where the source may
//! have got its row in the other bucket meanwhile looks there again, after that. So a source never gets two rows, and a
//! row never two makers. Whoever changes another's byte does so by an exchange, too, and leaves `BUSY` alone: it is its
//! maker's. User space reads rows while they are counted into; one that changed its source meanwhile tells
//! so by that.

use mitigator_common::{RowMarks, Source, SourcePlace, SourceTable};

use crate::counters::{LiveRow, OwnersLine, RowDetails};
use crate::shared::SharedU64;

/// Marks a row that is being made.
pub(crate) const BUSY: u8 = 127;
/// Beside a tag, that the source is known: this host asked it or has a connection with it, or it is heavy.
const KNOWN: u8 = 0x80;
pub(crate) const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHEST: u64 = ONES * KNOWN as u64;
/// How long a row rests before it is taken for a source that was never seen before, 2 s, and for one that is heavy or
/// that this host asks for something, 0.27 s.
pub(crate) const RESTS_NS: u64 = 1 << 31;
pub(crate) const RESTS_SHORTLY_NS: u64 = 1 << 28;
/// How often it is tried to mark a source as known, while others change its bucket.
const ATTEMPTS: u32 = 3;
/// As many times as long where this host has a connection with the row's source, as a power of two.
const CONNECTED_BITS: u32 = 5;

/// What tells the rows of a bucket apart: a byte for each.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct LiveBucket {
    pub(crate) tags: SharedU64,
}

/// The tags of a bucket as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags(u64);

/// Some rows of a bucket: the highest bit of a byte for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows(pub(crate) u64);

impl Rows {
    /// Whether there are none.
    #[inline(always)]
    #[must_use]
    pub const fn are_none(self) -> bool {
        self.0 == 0
    }

    /// Those that are in `other`, too.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The first of them, where there is one.
    #[inline(always)]
    #[must_use]
    pub const fn first(self) -> u32 {
        // The lowest bit alone is a power of 2^8; a product with it moves the number of its byte to the top, because the
        // kernel's machine cannot count zeros.
        let lowest = (self.0 & self.0.wrapping_neg()) >> 7;
        (lowest.wrapping_mul(0x0010_2030_4050_6070) >> 60) as u32
    }

    /// All but the first.
    #[inline(always)]
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(self.0 & self.0.wrapping_sub(1))
    }
}

/// The bytes of a word that are zero; one above such a byte may be taken for zero, too, when it is 1. The first is zero.
#[inline(always)]
const fn zero_bytes(word: u64) -> Rows {
    Rows(word.wrapping_sub(ONES) & !word & HIGHEST)
}

impl Tags {
    /// The rows that are marked with a tag, which is without the known bit: less than 128.
    #[inline(always)]
    #[must_use]
    pub const fn marked(self, tag: u8) -> Rows {
        // Without their highest bits, bytes that are not zero reach it when as much is added as they can hold, and no sum
        // goes over into the next.
        let differ = self.0 & !HIGHEST ^ ONES.wrapping_mul(tag as u64);
        Rows(!differ.wrapping_add(!HIGHEST) & HIGHEST)
    }

    #[inline(always)]
    const fn marked_among(self, tag: u8, among: Among) -> Rows {
        let marked = self.marked(tag);
        if matches!(among, Among::Known) { marked.and(self.known()) } else { marked }
    }

    /// The rows whose sources are known.
    #[inline(always)]
    #[must_use]
    pub const fn known(self) -> Rows {
        Rows(self.0 & HIGHEST)
    }

    #[inline(always)]
    const fn free(self) -> Rows {
        zero_bytes(self.0)
    }

    /// Whether all rows are in use or being made.
    #[inline(always)]
    #[must_use]
    pub const fn are_all_set(self) -> bool {
        self.free().are_none()
    }

    #[inline(always)]
    const fn is_making_one(self) -> bool {
        !self.marked(BUSY).are_none()
    }

    /// Whether a row is in use, and not being made.
    #[inline(always)]
    #[must_use]
    pub const fn is_in_use(self, row: u32) -> bool {
        let tag = self.byte(row) & !KNOWN;
        SourceTable::LEAST_TAG <= tag && tag <= SourceTable::MOST_TAG
    }

    /// Whether none is in use.
    #[must_use]
    pub const fn are_none(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "one byte")]
    const fn byte(self, row: u32) -> u8 {
        (self.0 >> ((row & 7) * 8)) as u8
    }

    #[inline(always)]
    const fn with(self, row: u32, byte: u8) -> Self {
        Self(self.0 & !byte_of(row, 0xff) | byte_of(row, byte))
    }
}

impl LiveBucket {
    /// Its tags as they stand.
    #[inline(always)]
    #[must_use]
    pub fn tags(&self) -> Tags {
        Tags(self.tags.consult())
    }

    /// Remembers that the source of a row is known, which was marked with `tag`. Whoever has the row by now does not
    /// inherit it, unless marked alike.
    #[inline(always)]
    pub fn set_known(&self, row: u32, tag: u8) {
        for _ in 0..ATTEMPTS {
            let tags = self.tags();
            // It is already, or the row goes or went to another.
            if tags.byte(row) != tag || self.tags.replace(tags.0, tags.with(row, tag | KNOWN).0) {
                return;
            }
        }
    }

    /// Marks a row that was being made, whose byte nobody else has changed, and leaves the others as they are: one may
    /// have become known meanwhile.
    #[inline(always)]
    fn release(&self, row: u32, byte: u8) {
        self.tags.publish_sum(byte_of(row, byte).wrapping_sub(byte_of(row, BUSY)));
    }

    /// Forgets all rows. Only where no packet is counted.
    pub fn clear(&self) {
        self.tags.set(0);
    }
}

/// The table, as the functions below need it.
pub trait Memory<'t> {
    /// A bucket.
    fn bucket(&self, index: u32) -> Option<&'t LiveBucket>;
    /// The first line of a row.
    fn line(&self, index: u32) -> Option<&'t OwnersLine>;
    /// The rest of it.
    fn details(&self, index: u32) -> Option<&'t RowDetails>;
    /// A row.
    #[inline(always)]
    fn row(&self, index: u32) -> Option<LiveRow<'t>> {
        Some(LiveRow::new(self.line(index)?, self.details(index)?))
    }
}

/// A row, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Index of its bucket.
    pub bucket: u32,
    /// Which of it.
    pub row: u32,
}

impl Found {
    /// Its index among all rows.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.bucket * SourceTable::ROWS_PER_BUCKET + self.row
    }
}

/// Which rows are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// All.
    All,
    /// Those of sources that are known.
    Known,
}

/// What one glance tells of a source's row.
#[derive(Clone, Copy, Debug)]
pub enum Glance<'t> {
    /// This is it: its first line, and its index among all rows.
    Row(&'t OwnersLine, u32),
    /// There is none.
    None,
    /// Another one is marked alike: [`find`] tells.
    Unclear,
}

/// Looks for the row of a source among what is marked with its tag first in each of its buckets: so nearly always all
/// is said, and by as little code as there is room for in the way of every packet.
#[inline(always)]
#[must_use]
pub fn glance<'t>(table: &impl Memory<'t>, source: Source, place: SourcePlace, among: Among) -> Glance<'t> {
    let mut index = place.near;
    let Some(near) = table.bucket(index) else { return Glance::None };
    let near = near.tags();
    let mut rows = near.marked_among(place.tag, among);
    if rows.are_none() {
        if !near.are_all_set() {
            return Glance::None;
        }
        index = place.far;
        let Some(far) = table.bucket(index) else { return Glance::None };
        rows = far.tags().marked_among(place.tag, among);
        if rows.are_none() {
            return Glance::None;
        }
    }
    let index = Found { bucket: index, row: rows.first() }.index();
    match table.line(index) {
        Some(line) if line.is_of(source) => Glance::Row(line, index),
        _ => Glance::Unclear,
    }
}

/// Looks for the row of a source.
#[inline(always)]
#[must_use]
pub fn find<'t>(table: &impl Memory<'t>, source: Source, place: SourcePlace, among: Among) -> Option<Found> {
    let near = table.bucket(place.near)?.tags();
    if let Some(found) = find_in(table, source, place.near, near, place.tag, among) {
        return Some(found);
    }
    if !near.are_all_set() {
        return None;
    }
    let far = table.bucket(place.far)?.tags();
    find_in(table, source, place.far, far, place.tag, among)
}

#[inline(always)]
fn find_in<'t>(
    table: &impl Memory<'t>,
    source: Source,
    bucket: u32,
    tags: Tags,
    tag: u8,
    among: Among,
) -> Option<Found> {
    let mut rows = tags.marked_among(tag, among);
    for _ in 0..SourceTable::ROWS_PER_BUCKET {
        if rows.are_none() {
            return None;
        }
        let found = Found { bucket, row: rows.first() };
        if table.line(found.index())?.is_of(source) {
            return Some(found);
        }
        rows = rows.rest();
    }
    None
}

/// Whether there may be a row of the source, by its tag alone.
#[inline(always)]
#[must_use]
pub fn may_have_row<'t>(table: &impl Memory<'t>, place: SourcePlace) -> bool {
    let is_marked = |index| match table.bucket(index) {
        Some(bucket) => !bucket.tags().marked(place.tag).are_none(),
        None => false,
    };
    is_marked(place.near) || is_marked(place.far)
}

/// A row that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Which it is.
    pub row: Found,
    /// Whether another source lost it.
    pub evicts: bool,
}

/// For whom a row is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A source that was never seen before: as many of them as somebody likes to forge.
    Stranger,
    /// One that is heavy, or that this host asks for something.
    Promoted,
}

/// Makes the row of a source that has none at `now_ns`. It is a free one, or one whose source was quiet for long, that
/// `random` chooses. `None` when there is neither, or another CPU is making one in the same bucket or has made the
/// source's.
#[inline(always)]
pub fn make<'t>(
    table: &impl Memory<'t>,
    source: Source,
    place: SourcePlace,
    wish: Wish,
    now_ns: u64,
    random: u32,
) -> Option<Made> {
    let choice = choose(table, place, wish, now_ns, random)?;
    take(table, choice, source, place, now_ns)
}

/// A row to take, and the tags of its bucket, which must not have changed until then.
#[derive(Clone, Copy)]
struct Choice {
    row: Found,
    tags: Tags,
    /// The other bucket where the source may have a row; the row's own where it has none elsewhere. No `Option`: on the
    /// way of `None` its value is left unwritten on the stack, and verifiers before 6.3 let nobody read that, not even
    /// where it cannot happen.
    other: u32,
}

#[inline(always)]
fn choose<'t>(
    table: &impl Memory<'t>,
    place: SourcePlace,
    wish: Wish,
    now_ns: u64,
    random: u32,
) -> Option<Choice> {
    let tags = table.bucket(place.near)?.tags();
    if tags.is_making_one() {
        return None;
    }
    if !tags.are_all_set() {
        let row = Found { bucket: place.near, row: tags.free().first() };
        // None of this source is far as long as there is room near.
        return Some(Choice { row, tags, other: place.near });
    }
    let far = table.bucket(place.far)?.tags();
    if far.is_making_one() {
        return None;
    }
    // Nobody loses a row as long as there is a free one.
    if !far.are_all_set() {
        let row = Found { bucket: place.far, row: far.free().first() };
        return Some(Choice { row, tags: far, other: place.near });
    }
    if let Some(row) = rested(table, place.near, tags, wish, now_ns, random) {
        return Some(Choice { row: Found { bucket: place.near, row }, tags, other: place.far });
    }
    let row = rested(table, place.far, far, wish, now_ns, random)?;
    Some(Choice { row: Found { bucket: place.far, row }, tags: far, other: place.near })
}

/// Takes a row for a source, unless it has one by now.
#[inline(always)]
fn take<'t>(
    table: &impl Memory<'t>,
    Choice { row, tags, other }: Choice,
    source: Source,
    place: SourcePlace,
    now_ns: u64,
) -> Option<Made> {
    let has_row_in = |bucket, tags| find_in(table, source, bucket, tags, place.tag, Among::All).is_some();
    // Whoever makes one here after this look changes the tags.
    if has_row_in(row.bucket, tags) {
        return None;
    }
    let bucket = table.bucket(row.bucket)?;
    if !bucket.tags.replace(tags.0, tags.with(row.row, BUSY).0) {
        return None;
    }
    if other != row.bucket {
        let others = table.bucket(other)?.tags();
        if others.is_making_one() || has_row_in(other, others) {
            bucket.release(row.row, tags.byte(row.row));
            return None;
        }
    }
    let evicts = tags.is_in_use(row.row);
    let marks = if evicts { RowMarks::HAD_ANOTHER } else { RowMarks::NONE };
    table.row(row.index())?.begin(source, now_ns, marks);
    bucket.release(row.row, place.tag);
    Some(Made { row, evicts })
}

/// Of two rows of a bucket at random, the one whose source was quiet for longer, if for long enough (the power of two
/// choices, Mitzenmacher 2001): to look at all eight would cost as many cache misses.
#[inline(always)]
fn rested<'t>(
    table: &impl Memory<'t>,
    bucket: u32,
    tags: Tags,
    wish: Wish,
    now_ns: u64,
    random: u32,
) -> Option<u32> {
    let one = random & 7;
    let other = (one + 1 + (random >> 3) % 7) & 7;
    let quiet = |row: u32| -> Option<u64> {
        let found = table.row(Found { bucket, row }.index())?;
        let last = found.last_seen_ns();
        // Another CPU may have seen it a moment after this one looked at the clock.
        let quiet = now_ns.saturating_sub(last);
        // Who is known without a connection may be forged.
        let is_connected = tags.0 & byte_of(row, KNOWN) != 0 && found.has_connection();
        Some(if is_connected { quiet >> CONNECTED_BITS } else { quiet })
    };
    let (quiet, other_quiet) = (quiet(one)?, quiet(other)?);
    let (row, quiet) = if quiet < other_quiet { (other, other_quiet) } else { (one, quiet) };
    let rests_ns = if matches!(wish, Wish::Promoted) { RESTS_SHORTLY_NS } else { RESTS_NS };
    if quiet > rests_ns { Some(row) } else { None }
}

/// A byte at the place of a row in its bucket's word.
#[inline(always)]
pub(crate) const fn byte_of(row: u32, byte: u8) -> u64 {
    (byte as u64) << ((row & 7) * 8)
}
