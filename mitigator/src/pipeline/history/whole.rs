//! All rows of the data plane at one instant, compared with those of an earlier one.

use mitigator_common::{Source, SourceCounters};

use super::{Compared, earlier_port_bits};

type Row = (Source, SourceCounters);

/// All rows of a snapshot, as they came.
#[derive(Debug, Default)]
pub(super) struct Whole {
    rows: Vec<Row>,
    /// By row: its ports of the epoch before that of its counters.
    earlier_port_bits: Vec<u64>,
}

/// How far from where it is expected a row is looked for.
const REACH: usize = 12;

impl Whole {
    /// The rows of the snapshot that follows; calls `each` for every one.
    pub(super) fn followed_by(&self, rows: Vec<Row>, mut each: impl FnMut(Compared<'_>)) -> Self {
        let mut bits_by_row = vec![0; rows.len()];
        match_up(&self.rows, &rows, |place, (source, now), place_before| {
            let before = place_before.and_then(|place| self.get(place));
            let bits = before.map_or(0, |(before, bits)| earlier_port_bits(before, bits, now));
            if let Some(place) = bits_by_row.get_mut(place) {
                *place = bits;
            }
            let before = before.map(|(before, _)| before);
            each(Compared { source: *source, before, now, earlier_port_bits: bits });
        });
        Self { rows, earlier_port_bits: bits_by_row }
    }

    /// Calls `each` for every row, with the same source's row of `earlier`.
    pub(super) fn compare_with(&self, earlier: &Self, mut each: impl FnMut(Compared<'_>)) {
        match_up(&earlier.rows, &self.rows, |place, (source, now), place_before| {
            let before = place_before.and_then(|place| earlier.get(place)).map(|(before, _)| before);
            let earlier_port_bits = self.earlier_port_bits.get(place).copied().unwrap_or(0);
            each(Compared { source: *source, before, now, earlier_port_bits });
        });
    }

    fn get(&self, place: usize) -> Option<(&SourceCounters, u64)> {
        let (_, counters) = self.rows.get(place)?;
        Some((counters, *self.earlier_port_bits.get(place)?))
    }
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
            if let Some(is_matched) = is_matched.get_mut(found) {
                *is_matched = true;
            }
            each(place, row, Some(found));
        } else {
            // Most often it stands in the place of one that is gone.
            expected = before.len().min(expected + 1);
            missed.push(place);
        }
    }
    let mut rest =
        sorted(before, (0..before.len()).filter(|place| !is_matched.get(*place).is_some_and(|is| *is)));
    let mut found_later: Vec<(usize, usize)> = Vec::new();
    if !rest.is_empty() && !missed.is_empty() {
        let mut rest = rest.drain(..).peekable();
        for (source, place) in sorted(now, missed.iter().copied()) {
            while rest.next_if(|(other, _)| *other < source).is_some() {}
            if let Some((_, before)) = rest.next_if(|(other, _)| *other == source) {
                found_later.push((place, before));
            }
        }
        found_later.sort_unstable();
    }
    let mut found_later = found_later.into_iter().peekable();
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

/// The sources in some places, sorted, each with its place.
fn sorted(rows: &[Row], places: impl Iterator<Item = usize>) -> Vec<(Source, usize)> {
    let source_in = |place: usize| rows.get(place).map(|(source, _)| (*source, place));
    let mut sources: Vec<(Source, usize)> = places.filter_map(source_in).collect();
    sources.sort_unstable();
    sources
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
