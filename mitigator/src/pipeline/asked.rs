//! Sources that somebody asks about: for each kind of attack, the moment that came closest to a verdict.

use std::collections::BTreeMap;

use mitigator_common::Source;
use serde::Serialize;

use super::gates::Gate;
use super::time::Timestamp;
use super::vectors::Vector;
use super::verdict::Evidence;

/// The moment at which a source came closest to a verdict of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Closest {
    /// When.
    #[serde(skip)]
    pub at: Timestamp,
    /// The kind of attack.
    pub vector: Vector,
    /// What was seen then.
    pub evidence: Evidence,
}

/// Who is asked about, and what was seen of them.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    sources: Vec<Source>,
    closest: BTreeMap<(Source, Vector), Closest>,
}

impl Asked {
    /// Remembers nobody but `sources`.
    #[must_use]
    pub fn about(sources: Vec<Source>) -> Self {
        Self { sources, closest: BTreeMap::new() }
    }

    /// Whether the source is asked about.
    #[must_use]
    pub fn is_about(&self, source: Source) -> bool {
        self.sources.contains(&source)
    }

    /// Takes a moment in, when it is closer than the ones before, or tells more of the same one.
    pub fn note(&mut self, source: Source, moment: Closest) {
        let key = (source, moment.vector);
        let is_kept = self.closest.get(&key).is_some_and(|known| {
            !is_same(known, &moment)
                && closeness(known.evidence.gates()) >= closeness(moment.evidence.gates())
        });
        if !is_kept {
            self.closest.insert(key, moment);
        }
    }

    /// What was seen of a source, the closest first.
    #[must_use]
    pub fn closest(&self, source: Source) -> Vec<Closest> {
        let of_source = self.closest.iter().filter(|((known, _), _)| *known == source);
        let mut moments: Vec<Closest> = of_source.map(|(_, moment)| moment.clone()).collect();
        moments.sort_by(|a, b| closeness(b.evidence.gates()).total_cmp(&closeness(a.evidence.gates())));
        moments
    }
}

/// Whether both are of one tick, or of one window.
fn is_same(known: &Closest, moment: &Closest) -> bool {
    let length = |closest: &Closest| closest.evidence.case.window_s.to_bits();
    known.at == moment.at && length(known) == length(moment)
}

/// How near a source came: its own part of what it takes, less what all sources together lack.
#[must_use]
pub fn closeness<'a>(gates: impl IntoIterator<Item = &'a Gate>) -> f64 {
    let part = |gate: &Gate| if gate.limit > 0.0 { gate.value / gate.limit } else { 1.0 };
    let mut gates = gates.into_iter().peekable();
    let of_all = gates.peek().map_or(0.0, |gate| part(gate)).min(1.0);
    let own = gates.find(|gate| ["source_floor", "source_pace"].contains(&gate.name)).map_or(0.0, part);
    of_all * own
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn moment(second: u64, total: f64, own: f64, note: &'static str) -> Closest {
        let gates = vec![
            Gate::at_least("total_floor", total, 200.0, "packets/s"),
            Gate::at_least("source_floor", own, 50.0, "packets/s"),
        ];
        Closest {
            at: Timestamp::default() + Duration::from_secs(second),
            vector: Vector::SynFlood,
            evidence: Evidence { own_gates: gates, note, ..Evidence::default() },
        }
    }

    #[test]
    fn the_closest_moment_stays_and_the_last_word_on_it_counts() {
        let source = Source::from_v4_bytes([192, 0, 2, 7]);
        let mut asked = Asked::about(vec![source]);
        for (second, total, own, note) in [
            (1, 100.0, 30.0, "quiet"),
            (2, 300.0, 40.0, "loudest"),
            (2, 300.0, 20.0, "loudest, told in full"),
            (3, 300.0, 15.0, "later"),
        ] {
            asked.note(source, moment(second, total, own, note));
        }
        let notes: Vec<&str> = asked.closest(source).iter().map(|moment| moment.evidence.note).collect();
        assert_eq!(notes, ["loudest, told in full"]);
        assert!(asked.is_about(source) && !asked.is_about(Source::from_v4_bytes([192, 0, 2, 8])));
    }
}
