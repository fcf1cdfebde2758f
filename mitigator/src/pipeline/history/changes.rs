//! Rows of the data plane of which each snapshot brings only those that changed.

use mitigator_common::{Source, SourceCounters};
use rustc_hash::FxHashMap;

use super::{Compared, earlier_port_bits};

/// The rows as last seen.
#[derive(Debug, Default)]
pub(super) struct Known {
    rows: FxHashMap<Source, Row>,
}

/// What changed since a moment: each source that did with its counters of then, or none.
#[derive(Debug, Default)]
pub(super) struct Since {
    before: FxHashMap<Source, Option<SourceCounters>>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    counters: SourceCounters,
    /// Ports of the epoch before that of `counters`.
    earlier_port_bits: u64,
}

impl Known {
    /// Takes in the rows that changed and forgets those that are gone; notes in `marks` what the former were, and
    /// calls `each` for them in the order of their sources.
    pub(super) fn advance<'a>(
        &mut self,
        rows: &[(Source, SourceCounters)],
        gone: &[Source],
        marks: impl Iterator<Item = &'a mut Since>,
        mut each: impl FnMut(Compared<'_>),
    ) {
        let mut marks: Vec<&mut Since> = marks.collect();
        for source in gone {
            self.rows.remove(source);
            for mark in &mut marks {
                mark.before.remove(source);
            }
        }
        let mut rows: Vec<&(Source, SourceCounters)> = rows.iter().collect();
        rows.sort_unstable_by_key(|(source, _)| *source);
        for (source, now) in rows {
            let before = self.rows.get(source);
            for mark in &mut marks {
                mark.before.entry(*source).or_insert_with(|| before.map(|known| known.counters));
            }
            let bits =
                before.map_or(0, |before| earlier_port_bits(&before.counters, before.earlier_port_bits, now));
            let before = before.map(|known| &known.counters);
            each(Compared { source: *source, before, now, earlier_port_bits: bits });
            self.rows.insert(*source, Row { counters: *now, earlier_port_bits: bits });
        }
    }

    /// Calls `each` for every row that changed since the moment of `mark`, in the order of the sources.
    pub(super) fn compare_with(&self, mark: &Since, mut each: impl FnMut(Compared<'_>)) {
        let mut changed: Vec<_> = mark.before.iter().collect();
        changed.sort_unstable_by_key(|(source, _)| **source);
        for (source, before) in changed {
            if let Some(Row { counters: now, earlier_port_bits }) = self.rows.get(source) {
                let (source, before, earlier_port_bits) = (*source, before.as_ref(), *earlier_port_bits);
                each(Compared { source, before, now, earlier_port_bits });
            }
        }
    }

    /// The counters of a source.
    pub(super) fn get(&self, source: Source) -> Option<&SourceCounters> {
        self.rows.get(&source).map(|known| &known.counters)
    }
}
