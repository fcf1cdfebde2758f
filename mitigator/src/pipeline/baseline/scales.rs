//! The scales of time that a baseline is learned over: ticks of a minute, tens of minutes of a day, hours of weeks.
//!
//! Each scale keeps medians of the one below (the remedian: Rousseeuw & Bassett, "The Remedian: A Robust
//! Averaging Method for Large Data Sets", JASA 85, 1990), so that weeks fit into a few kilobytes and a burst on
//! one scale never reaches the next. Spread is the median absolute deviation (Hampel, "The Influence Curve and
//! Its Role in Robust Estimation", JASA 69, 1974).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Normal;
use crate::pipeline::time::UnixMinute;

/// Ticks of one minute that are kept; beyond that every second one, then every fourth.
const MOST_RATES: usize = 256;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Minutes of which the latest level is the median.
const LATEST: usize = 5;
/// Minutes in an entry of the day.
const BLOCK: usize = 10;
/// Entries of a day.
const DAY: usize = 24 * 60 / BLOCK;
/// Hours of four weeks.
const WEEKS_HOURS: u64 = 4 * 7 * 24;
/// Days on which an hour must have been seen before it counts as usual.
const DAYS: usize = 3;
/// No host sees more packets per second; what is stored and above is damage.
const MOST: f32 = 1e20;
/// A MAD times this estimates the standard deviation of normal noise.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// Rates of the ticks of a minute that is under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Minute {
    rates: Vec<f32>,
    /// One tick in 2 to this power is kept.
    thinned: u32,
    ticks: u32,
    lasted: Duration,
}

impl Minute {
    /// Adds a tick; when the minute is full, gives it with how long it lasted.
    pub(super) fn add(&mut self, rate: f64, interval: Duration) -> Option<(Normal, Duration)> {
        if self.rates.len() == MOST_RATES {
            let mut position = 0;
            self.rates.retain(|_| {
                position += 1;
                position % 2 == 1
            });
            self.thinned += 1;
        }
        if self.ticks.is_multiple_of(1 << self.thinned.min(31)) {
            self.rates.push(narrow(rate));
        }
        self.ticks = self.ticks.wrapping_add(1);
        // A pause is no longer than what was seen at its end can speak for.
        self.lasted += interval.min(MINUTE);
        (self.lasted >= MINUTE).then(|| {
            let full = std::mem::take(self);
            (full.normal(), full.lasted)
        })
    }

    /// Ticks that are kept.
    pub(super) fn len(&self) -> usize {
        self.rates.len()
    }

    pub(super) fn normal(&self) -> Normal {
        // Most kinds of traffic are not there at all.
        if self.rates.iter().all(|rate| *rate == 0.0) {
            return Normal::default();
        }
        let mut rates = self.rates.clone();
        let median = median(&mut rates);
        for rate in &mut rates {
            *rate = (*rate - narrow(median)).abs();
        }
        Normal { median, deviation: self::median(&mut rates) * MAD_TO_DEVIATION }
    }
}

/// The latest minutes, as they were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Minutes(VecDeque<(f32, f32)>);

impl Minutes {
    pub(super) fn add(&mut self, minute: Normal) {
        if self.0.len() == LATEST {
            self.0.pop_front();
        }
        self.0.push_back((narrow(minute.median), narrow(minute.deviation)));
    }

    pub(super) fn normal(&self) -> Normal {
        let mut medians: Vec<f32> = self.0.iter().map(|(median, _)| *median).collect();
        let mut deviations: Vec<f32> = self.0.iter().map(|(_, deviation)| *deviation).collect();
        Normal { median: median(&mut medians), deviation: median(&mut deviations) }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_sound(&self) -> bool {
        self.0.len() <= LATEST
            && self.0.iter().all(|(median, deviation)| is_rate(*median) && is_rate(*deviation))
    }
}

/// The last day, in medians of ten minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Day {
    block: Vec<f32>,
    blocks: VecDeque<f32>,
}

impl Day {
    pub(super) fn add(&mut self, rate: f64) {
        self.block.push(narrow(rate));
        if self.block.len() == BLOCK {
            if self.blocks.len() == DAY {
                self.blocks.pop_front();
            }
            self.blocks.push_back(narrow(median(&mut std::mem::take(&mut self.block))));
        }
    }

    /// The typical level of the day; zero while there is none.
    pub(super) fn median(&self) -> f64 {
        median(&mut self.blocks.iter().copied().collect::<Vec<f32>>())
    }

    pub(super) fn is_sound(&self) -> bool {
        self.block.len() < BLOCK
            && self.blocks.len() <= DAY
            && self.block.iter().chain(&self.blocks).all(|rate| is_rate(*rate))
    }
}

/// The last four weeks, in medians of hours of the wall clock, in UTC: an hour of the day is the same in every zone
/// but for two nights a year.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weeks {
    /// Number of the hour since the epoch, and what was usual in it; each hour once.
    hours: VecDeque<(u64, f32)>,
    /// The hour under way, by minutes.
    current: Option<(u64, Vec<f32>)>,
}

impl Weeks {
    pub(super) fn add(&mut self, rate: f64, now: UnixMinute) {
        let hour = now.hour();
        match &mut self.current {
            Some((current, minutes)) if *current == hour => {
                if minutes.len() < 60 {
                    minutes.push(narrow(rate));
                }
            }
            current => {
                let ended = current.replace((hour, vec![narrow(rate)]));
                // A wall clock that was set back leaves hours that are yet to come.
                self.hours.retain(|(known, _)| *known < hour && hour - known <= WEEKS_HOURS);
                if let Some((ended, mut minutes)) = ended
                    && minutes.len() >= 20
                    && ended < hour
                    && !self.hours.iter().any(|(known, _)| *known == ended)
                {
                    self.hours.push_back((ended, narrow(median(&mut minutes))));
                }
            }
        }
    }

    /// What is usual at this time of day: the busier of this hour and the one that is nearer, because what comes
    /// every day does not come on the minute. `None` before both were seen on enough days.
    pub(super) fn usual_at(&self, now: UnixMinute) -> Option<f64> {
        if self.hours.len() < DAYS {
            return None;
        }
        let neighbour = if now.0 % 60 < 30 { now.0.saturating_sub(60) } else { now.0.saturating_add(60) };
        let of_hour = |hour: u64| {
            let same = self.hours.iter().filter(|(known, _)| known % 24 == hour % 24);
            let mut rates: Vec<f32> = same.map(|(_, rate)| *rate).collect();
            (rates.len() >= DAYS).then(|| median(&mut rates))
        };
        let usual = of_hour(now.hour())?;
        Some(of_hour(UnixMinute(neighbour).hour()).map_or(usual, |neighbour| usual.max(neighbour)))
    }

    /// Takes over the hours that it does not know itself.
    pub(super) fn complete_by(&mut self, older: Self) {
        let mut hours: BTreeMap<u64, f32> = older.hours.into_iter().chain(self.hours.drain(..)).collect();
        while hours.len() as u64 > WEEKS_HOURS {
            hours.pop_first();
        }
        self.hours = hours.into_iter().collect();
    }

    /// The rate of the busiest hour.
    pub(super) fn busiest(&self) -> f64 {
        f64::from(self.hours.iter().map(|(_, rate)| *rate).fold(0.0, f32::max))
    }

    pub(super) fn is_sound(&self) -> bool {
        let minutes = self.current.iter().flat_map(|(_, minutes)| minutes);
        self.hours.len() as u64 <= WEEKS_HOURS
            && self.current.as_ref().is_none_or(|(_, minutes)| minutes.len() <= 60)
            && self.hours.iter().map(|(_, rate)| rate).chain(minutes).all(|rate| is_rate(*rate))
    }
}

fn is_rate(rate: f32) -> bool {
    (0.0..=MOST).contains(&rate)
}

#[expect(clippy::cast_possible_truncation, reason = "seven digits of a rate are plenty")]
fn narrow(rate: f64) -> f32 {
    (rate as f32).clamp(0.0, MOST)
}

/// The upper one of two in the middle; 0 of none.
fn median(values: &mut [f32]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { f64::from(*values.select_nth_unstable_by(middle, f32::total_cmp).1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_full_by_time_and_never_large() {
        for (interval_ms, ticks) in [(50, 1_200), (250, 240), (10_000, 6), (3_600_000, 1)] {
            let mut minute = Minute::default();
            for tick in 1..=ticks {
                let full = minute.add(f64::from(tick), Duration::from_millis(interval_ms));
                assert!(minute.len() <= MOST_RATES);
                assert_eq!(full.is_some(), tick == ticks, "tick {tick} of {ticks}");
                if let Some((normal, lasted)) = full {
                    let middle = f64::from(ticks + 1) / 2.0;
                    assert!((normal.median - middle).abs() <= middle * 0.34, "{normal:?} of {ticks}");
                    assert_eq!(lasted, MINUTE);
                }
            }
        }
    }

    #[test]
    fn an_hour_is_usual_after_three_days_and_forgotten_after_four_weeks() {
        let mut weeks = Weeks::default();
        let minute_of = |day: u64, minute: u64| UnixMinute((20_000 + day) * 24 * 60 + minute);
        for day in 0..4 {
            let usual = weeks.usual_at(minute_of(day, 18 * 60 + 10));
            assert_eq!(usual, (day == 3).then_some(800.0), "day {day}");
            for minute in 0..24 * 60 {
                weeks.add(if minute / 60 == 18 { 800.0 } else { 100.0 }, minute_of(day, minute));
            }
        }
        for (minute, expected) in
            [(16 * 60 + 50, 100.0), (17 * 60 + 20, 100.0), (17 * 60 + 40, 800.0), (19 * 60 + 20, 800.0)]
        {
            assert_eq!(weeks.usual_at(minute_of(4, minute)), Some(expected), "minute {minute}");
        }
        weeks.add(5.0, minute_of(40, 0));
        assert_eq!(weeks.usual_at(minute_of(40, 18 * 60)), None);
        assert!(weeks.is_sound());
    }

    #[test]
    fn a_wall_clock_that_was_set_back_leaves_no_hours_of_the_future() {
        let mut weeks = Weeks::default();
        for hour in [500_000, 500_001, 400_000, 400_001] {
            for minute in 0..60 {
                weeks.add(1.0, UnixMinute(hour * 60 + minute));
            }
        }
        assert_eq!(weeks.hours, [(400_000, 1.0)]);
    }
}
