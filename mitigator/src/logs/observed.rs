//! `Observed`: the time that a log covers. A pause of an hour or more is not part of it: the log may be missing there,
//! or a clock was wrong for a line, which tells nothing of the years between.

/// Seconds without a line from which nothing is known of the time between.
const LONGEST_PAUSE_S: i64 = 3_600;
/// Parts that are told apart; of a log with more, the others are left out.
const MOST_PARTS: usize = 4_096;

/// Parts of time, each with lines throughout.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// First and last second, sorted, apart.
    parts: Vec<(i64, i64)>,
}

impl Observed {
    /// Adds a line.
    pub fn add(&mut self, at_s: i64) {
        // Nearly all lines follow the last.
        let is_near = |(first, last): (i64, i64)| {
            at_s >= first.saturating_sub(LONGEST_PAUSE_S) && at_s <= last.saturating_add(LONGEST_PAUSE_S)
        };
        if self.parts.last().is_some_and(|(first, last)| (*first..=*last).contains(&at_s)) {
            return;
        }
        let place = self.parts.partition_point(|(_, last)| last.saturating_add(LONGEST_PAUSE_S) < at_s);
        if let Some(part) = self.parts.get_mut(place).filter(|part| is_near(**part)) {
            *part = (part.0.min(at_s), part.1.max(at_s));
            self.join(place);
        } else if self.parts.len() < MOST_PARTS {
            self.parts.insert(place, (at_s, at_s));
        }
    }

    /// Joins a part that grew with its neighbours.
    fn join(&mut self, place: usize) {
        for place in [place, place.saturating_sub(1)] {
            let neighbours = (self.parts.get(place), self.parts.get(place + 1));
            if let (Some(before), Some(after)) = neighbours
                && after.0.saturating_sub(before.1) <= LONGEST_PAUSE_S
            {
                let joined = (before.0.min(after.0), before.1.max(after.1));
                self.parts.remove(place + 1);
                if let Some(part) = self.parts.get_mut(place) {
                    *part = joined;
                }
            }
        }
    }

    /// How long it is in all, in seconds.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.parts.iter().map(|(first, last)| first.abs_diff(*last)).sum()
    }

    /// First and last second of the part around a time.
    #[must_use]
    pub fn around(&self, at_s: i64) -> Option<(i64, i64)> {
        let place = self.parts.partition_point(|(_, last)| *last < at_s);
        self.parts.get(place).copied().filter(|(first, _)| *first <= at_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_covered_is_not_counted() {
        for (description, times, seconds, around) in [
            ("a quiet server", vec![0, 3_000, 6_000], 6_000, (0, 6_000)),
            ("backwards", vec![6_000, 3_000, 0], 6_000, (0, 6_000)),
            ("a night that is missing", vec![0, 100, 50_000, 50_010], 110, (0, 100)),
            ("a wrong clock", vec![100, -9_000_000, 50, 0, 90_000_000], 100, (0, 100)),
            ("a gap that is filled later", vec![0, 7_000, 3_500, 100], 7_000, (0, 7_000)),
        ] {
            let mut observed = Observed::default();
            times.iter().for_each(|at_s| observed.add(*at_s));
            assert_eq!(
                (observed.seconds(), observed.around(100).or(observed.around(0))),
                (seconds, Some(around)),
                "{description}"
            );
        }
        let mut observed = Observed::default();
        (0..20_000).for_each(|n| observed.add(n * 10_000));
        assert_eq!(observed.parts.len(), MOST_PARTS);
    }
}
