//! All rows of the data plane at one instant, compared with those of an earlier one.

use mitigator_common::{Source, SourceCounters};

use super::{Compared, earlier_port_bits};
use crate::pipeline::rows::Table;

type Row = (Source, SourceCounters);

/// How far from where it is expected a row is looked for.
const REACH: usize = 8;

/// The table that follows on `before`; calls `each` for every row, with where it stands.
pub(super) fn follow(
    before: &Table,
    rows: Vec<Row>,
    mut each: impl FnMut(Compared<'_>, usize, Option<usize>),
) -> Table {
    let mut bits_by_row = vec![0; rows.len()];
    match_up(&before.rows, &rows, |place, (source, now), place_before| {
        let row_before = place_before.and_then(|place| before.get(place));
        let bits = row_before.map_or(0, |(before, bits)| earlier_port_bits(before, bits, now));
        if let Some(place) = bits_by_row.get_mut(place) {
            *place = bits;
        }
        let before = row_before.map(|(before, _)| before);
        each(Compared { source: *source, before, now, earlier_port_bits: bits }, place, place_before);
    });
    Table { rows, earlier_port_bits: bits_by_row }
}

/// Calls `each` for every row of `now`, with the same source's row of `before`, and where both stand.
pub(super) fn compare(before: &Table, now: &Table, mut each: impl FnMut(Compared<'_>, usize, Option<usize>)) {
    match_up(&before.rows, &now.rows, |place, (source, counters), place_before| {
        let row_before = place_before.and_then(|place| before.get(place)).map(|(before, _)| before);
        let earlier_port_bits = now.earlier_port_bits.get(place).copied().unwrap_or(0);
        let row = Compared { source: *source, before: row_before, now: counters, earlier_port_bits };
        each(row, place, place_before);
    });
}

/// Calls `each` for every row of `now`, with its place and the place of its source in `before`.
///
/// The data plane gives its rows in an order that hardly changes, so that both are walked through in step, memory
/// in the order in which it lies, which is several times as fast as looking up a million sources. What is not found near
/// by is sorted and merged.
fn match_up(before: &[Row], now: &[Row], mut each: impl FnMut(usize, &Row, Option<usize>)) {
    let mut expected = 0;
    let mut is_matched = vec![false; before.len()];
    let mut missed: Vec<usize> = Vec::new();
    for (place, row) in now.iter().enumerate() {
        if let Some(found) = find_near(before, expected, row.0) {
            expected = found + 1;
            // A data plane that is read one by one gives a row twice when another vanished meanwhile.
            if is_matched.get_mut(found).is_none_or(|matched| !std::mem::replace(matched, true)) {
                each(place, row, Some(found));
            }
        } else {
            // Most often it stands in the place of one that is gone.
            expected = before.len().min(expected + 1);
            missed.push(place);
        }
    }
    let rest = || is_matched.iter().zip(0..).filter(|(is_matched, _)| !**is_matched).map(|(_, place)| place);
    let mut found_later = pairs(before, rest, now, &missed).into_iter().peekable();
    for place in missed {
        let found = found_later.next_if(|(found, _)| *found == place).map(|(_, before)| before);
        if let Some(row) = now.get(place) {
            each(place, row, found);
        }
    }
}

/// Where a source stands, if that is near `expected`.
fn find_near(rows: &[Row], expected: usize, source: Source) -> Option<usize> {
    if rows.get(expected).is_some_and(|(found, _)| *found == source) {
        return Some(expected);
    }
    let start = expected.saturating_sub(REACH);
    let near = rows.get(start..rows.len().min(expected + REACH))?;
    near.iter().position(|(found, _)| *found == source).map(|place| start + place)
}

/// Sources that stand in some places of `now` and in some of `before`: both places, in the order of the former.
fn pairs<Places: Iterator<Item = usize>>(
    before: &[Row],
    places_before: impl Fn() -> Places,
    now: &[Row],
    places_now: &[usize],
) -> Vec<(usize, usize)> {
    // Most have no partner, in a flood of forged sources, and need not be sorted.
    let filter = Filter::of(before, places_before(), before.len());
    let places_now: Vec<usize> =
        places_now.iter().copied().filter(|place| filter.may_hold(now, *place)).collect();
    let filter = Filter::of(now, places_now.iter().copied(), places_now.len());
    let places_before: Vec<usize> = places_before().filter(|place| filter.may_hold(before, *place)).collect();
    let sorted = |rows: &[Row], places: Vec<usize>| {
        let source = |place: usize| rows.get(place).map(|(source, _)| (*source, place));
        let mut sources: Vec<(Source, usize)> = places.into_iter().filter_map(source).collect();
        sources.sort_unstable();
        sources
    };
    let mut partners = sorted(before, places_before).into_iter().peekable();
    let mut pairs = Vec::new();
    for (source, place) in sorted(now, places_now) {
        while partners.next_if(|(other, _)| *other < source).is_some() {}
        let partner = partners.next_if(|(other, _)| *other == source);
        pairs.extend(partner.map(|(_, before)| (place, before)));
    }
    pairs.sort_unstable();
    pairs
}

/// A set of sources that now and then takes a stranger for a member (Bloom 1970, with one hash function).
struct Filter {
    words: Vec<u64>,
}

/// Bits for each member, at least: of so many strangers, one is taken for a member.
const BITS_EACH: usize = 16;
/// Spreads sources over the bits (Knuth, "Sorting and Searching", 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Filter {
    /// The sources in some places, `most` at most.
    fn of(rows: &[Row], places: impl Iterator<Item = usize>, most: usize) -> Self {
        let words = (most * BITS_EACH / 64).next_power_of_two().max(2);
        let mut filter = Self { words: vec![0; words] };
        for (source, _) in places.filter_map(|place| rows.get(place)) {
            let (word, bit) = filter.bit_of(*source);
            if let Some(word) = filter.words.get_mut(word) {
                *word |= bit;
            }
        }
        filter
    }

    fn may_hold(&self, rows: &[Row], place: usize) -> bool {
        rows.get(place).is_some_and(|(source, _)| {
            let (word, bit) = self.bit_of(*source);
            self.words.get(word).is_some_and(|word| word & bit != 0)
        })
    }

    /// The word of a source and its bit in there, by the highest bits of its hash.
    fn bit_of(&self, source: Source) -> (usize, u64) {
        let hash = source.number().wrapping_mul(SPREAD);
        let number = hash >> (u64::BITS - 6 - self.words.len().ilog2());
        (usize::try_from(number >> 6).unwrap_or(0), 1 << (number & 63))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(numbers: impl IntoIterator<Item = u32>) -> Vec<Row> {
        let source = |number: u32| Source::from_v4_bytes(number.to_be_bytes());
        numbers.into_iter().map(|number| (source(number), SourceCounters::EMPTY)).collect()
    }

    #[test]
    fn every_source_finds_its_row_in_whatever_order_they_come() {
        let all = || 0..1_000_u32;
        for (description, before, now) in [
            ("the same order", rows(all()), rows(all())),
            ("nothing before", rows([]), rows(all())),
            ("nothing now", rows(all()), rows([])),
            ("some are gone", rows(all()), rows(all().filter(|number| number % 7 > 2))),
            ("some are new", rows(all().filter(|number| number % 7 > 2)), rows(all())),
            ("a long part is gone", rows(all()), rows((0..100).chain(700..1_000))),
            ("a long part is new", rows((0..100).chain(700..1_000)), rows(all())),
            ("some were replaced", rows(all()), rows(all().map(|n| if n % 3 == 0 { n + 5_000 } else { n }))),
            ("most were replaced", rows(all()), rows(all().map(|n| if n % 97 > 0 { n + 5_000 } else { n }))),
            ("another order", rows(all()), rows(all().map(|number| number * 377 % 1_000))),
            ("backwards", rows(all()), rows(all().rev())),
        ] {
            let mut seen = vec![0; now.len()];
            match_up(&before, &now, |place, (source, _), found| {
                let expected = before.iter().position(|(other, _)| other == source);
                assert_eq!(found, expected, "{description}, {place}");
                seen[place] += 1;
            });
            assert!(seen.iter().all(|times| *times == 1), "{description}");
        }
    }
}
