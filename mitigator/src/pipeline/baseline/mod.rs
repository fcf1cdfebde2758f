//! `Baseline`: what is normal for one kind of traffic, in total or of one service.
//!
//! Three scales are learned (`scales.rs`): the latest minutes, the last day, and the hours of the day over weeks.
//! The reference follows the latest minutes, but rises only slowly beyond what the day and the weeks know, so that
//! traffic that grows slowly cannot teach it; what enters the longer scales is cut at the reference (winsorized:
//! Tukey, "The Future of Data Analysis", Ann. Math. Statist. 33, 1962), so that neither can they be taught. What is
//! usual at this hour is normal at once, as in seasonal baselines (Barford et al., "A Signal Analysis of Network
//! Traffic Anomalies", IMW 2002). Whether there is an attack is for the gates to say; time is an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::UnixMinute;
use scales::{Day, MINUTE, Minute, Minutes, Weeks};

pub mod saved;
mod scales;
pub mod services;

/// Quiet ticks before the baseline counts as learned: three seconds.
const ENOUGH: usize = 12;
/// How long a baseline that knows nothing else follows what it sees.
const YOUNG: Duration = Duration::from_mins(10);
/// What is left of the reference after an hour in which nothing came.
const LEFT_AFTER_AN_HOUR: f64 = 0.5;

/// What is normal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    /// Packets per second.
    pub median: f64,
    /// Spread around the median, as a standard deviation.
    pub deviation: f64,
}

impl Normal {
    fn is_sound(&self) -> bool {
        [self.median, self.deviation].iter().all(|value| (0.0..=1e20).contains(value))
    }
}

/// What may be learned from a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Nothing looks like an attack.
    Quiet,
    /// Something does, but nobody was found to blame: it may be what is going to be normal.
    Alarm,
    /// There is an attack: nothing is learned.
    Attack,
}

/// How fast the reference may rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// As a share of itself, beyond what the longer scales know.
    pub rise_per_hour: f64,
    /// Up to this it may rise at once, because no gate would notice.
    pub harmless: Normal,
}

/// What is normal for one kind of traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    #[serde(skip)]
    minute: Minute,
    minutes: Minutes,
    day: Day,
    weeks: Weeks,
    /// The reference; `None` in the first minute.
    level: Option<Normal>,
    /// Quiet time learned, up to [`YOUNG`].
    age: Duration,
    /// Time under an alarm that nobody was blamed for, up to [`YOUNG`], while it is young.
    #[serde(skip)]
    alarmed: Duration,
}

impl Baseline {
    /// A baseline that knows that there was nothing.
    #[must_use]
    pub fn of_silence() -> Self {
        Self { level: Some(Normal::default()), age: YOUNG, ..Self::default() }
    }

    /// Learns the rate of one tick, as far as the situation allows.
    pub fn learn(
        &mut self,
        rate: f64,
        interval: Duration,
        situation: Situation,
        pace: &Pace,
        now: Option<UnixMinute>,
    ) {
        match situation {
            Situation::Attack => return,
            // An alarm that lasts is what there is; it is learned from little on.
            Situation::Alarm if !self.is_grown() => {
                self.alarmed += interval.min(MINUTE);
                if self.alarmed < YOUNG {
                    return;
                }
                self.age = YOUNG;
                self.minutes.clear();
            }
            Situation::Alarm | Situation::Quiet => {}
        }
        if let Some((minute, lasted)) = self.minute.add(rate, interval) {
            self.learn_minute(minute, lasted, pace, now);
        }
    }

    /// What is normal at a time, or `None` until enough was learned.
    #[must_use]
    pub fn normal(&self, now: Option<UnixMinute>) -> Option<Normal> {
        match self.level {
            Some(level) => Some(Normal { median: level.median.max(self.usual_at(now)), ..level }),
            None => self.is_learned().then(|| self.minute.normal()),
        }
    }

    /// Whether it can say what is normal.
    #[must_use]
    pub fn is_learned(&self) -> bool {
        self.level.is_some() || self.minute.len() >= ENOUGH
    }

    /// Whether it has seen enough to be slow.
    #[must_use]
    pub fn is_grown(&self) -> bool {
        self.age >= YOUNG
    }

    /// What there is of it when it comes to which of many are worth keeping.
    fn weight(&self) -> f64 {
        self.level.map_or(0.0, |level| level.median).max(self.day.median()).max(self.weeks.busiest())
    }

    /// Forgets all but the hours of the day, when it was away for so long that the rest says nothing.
    fn keep_weeks(self) -> Self {
        Self { weeks: self.weeks, ..Self::default() }
    }

    /// Takes over what an older one knows of the hours of the day.
    fn recall_weeks(&mut self, older: Self) {
        self.weeks.complete_by(older.weeks);
    }

    fn is_sound(&self) -> bool {
        self.minutes.is_sound()
            && self.day.is_sound()
            && self.weeks.is_sound()
            && self.level.is_none_or(|level| level.is_sound())
    }

    fn learn_minute(&mut self, minute: Normal, lasted: Duration, pace: &Pace, now: Option<UnixMinute>) {
        self.minutes.add(minute);
        let recent = self.minutes.normal();
        let usual = self.usual_at(now);
        let level = if self.is_grown() {
            let level = self.level.unwrap_or_default();
            let known = usual.max(self.day.median());
            follow(level, recent, known, lasted, pace)
        } else {
            self.age += lasted;
            recent
        };
        self.level = Some(level);
        let believed = minute.median.min(level.median.max(usual));
        self.day.add(believed);
        if let Some(now) = now {
            self.weeks.add(believed, now);
        }
    }

    /// What the weeks say of a time; zero when they say nothing.
    fn usual_at(&self, now: Option<UnixMinute>) -> f64 {
        now.and_then(|now| self.weeks.usual_at(now)).unwrap_or(0.0)
    }
}

/// The reference, moved towards what the latest minutes say: at once up to what is known or harmless, slowly beyond
/// that, and slowly down, so that an outage does not make what follows look like an attack.
fn follow(level: Normal, recent: Normal, known: f64, lasted: Duration, pace: &Pace) -> Normal {
    let hours = lasted.as_secs_f64() / 3_600.0;
    let (rise, fall) = ((1.0 + pace.rise_per_hour).powf(hours), LEFT_AFTER_AN_HOUR.powf(hours));
    let highest = (level.median * rise).max(known).max(pace.harmless.median);
    let median = recent.median.clamp((level.median * fall).min(highest), highest);
    // What is louder varies by more, in proportion.
    let louder = if level.median > 0.0 { (median / level.median).max(rise) } else { rise };
    let widest = (level.deviation * louder).max(pace.harmless.deviation);
    Normal { median, deviation: recent.deviation.clamp((level.deviation * fall).min(widest), widest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(250);
    const PACE: Pace = Pace { rise_per_hour: 0.1, harmless: Normal { median: 10.0, deviation: 1.0 } };

    /// Learns a rate for some minutes, in ticks of ten seconds.
    fn learn(baseline: &mut Baseline, minutes: u64, rate: f64, situation: Situation) {
        for _ in 0..minutes * 6 {
            baseline.learn(rate, Duration::from_secs(10), situation, &PACE, None);
        }
    }

    fn median_of(baseline: &Baseline) -> f64 {
        baseline.normal(None).unwrap().median
    }

    #[test]
    fn needs_some_quiet_before_it_knows() {
        let mut baseline = Baseline::default();
        for _ in 1..ENOUGH {
            baseline.learn(100.0, TICK, Situation::Quiet, &PACE, None);
            assert_eq!(baseline.normal(None), None);
        }
        baseline.learn(100.0, TICK, Situation::Quiet, &PACE, None);
        assert_eq!(baseline.normal(None), Some(Normal { median: 100.0, deviation: 0.0 }));
    }

    #[test]
    fn a_burst_does_not_move_it() {
        for ticks in [100, 1_000, 10_000] {
            let mut baseline = Baseline::default();
            for tick in 0..ticks {
                let rate = if tick % 10 == 0 { 1e6 } else { 100.0 + f64::from(tick % 3) };
                baseline.learn(rate, TICK, Situation::Quiet, &PACE, None);
            }
            let normal = baseline.normal(None).unwrap();
            assert!((100.0..=102.0).contains(&normal.median) && normal.deviation < 3.0, "{normal:?}");
        }
    }

    #[test]
    fn it_rises_slowly_falls_faster_and_not_at_all_under_attack() {
        for (description, rate, situation, after_an_hour) in [
            ("a little louder", 104.0, Situation::Quiet, 104.0..=104.0),
            ("twice as loud", 200.0, Situation::Quiet, 109.0..=110.1),
            ("twice as loud, with an alarm", 200.0, Situation::Alarm, 109.0..=110.1),
            ("twice as loud, as an attack", 200.0, Situation::Attack, 100.0..=100.0),
            ("silence", 0.0, Situation::Quiet, 49.0..=53.0),
            ("silence after an attack", 0.0, Situation::Attack, 100.0..=100.0),
        ] {
            let mut baseline = Baseline::default();
            learn(&mut baseline, 20, 100.0, Situation::Quiet);
            learn(&mut baseline, 60, rate, situation);
            let median = median_of(&baseline);
            assert!(after_an_hour.contains(&median), "{description}: {median}");
        }
    }

    #[test]
    fn neither_the_day_nor_the_weeks_can_be_taught() {
        let mut baseline = Baseline::default();
        for minute in 0..5 * 24 * 60_u64 {
            let now = UnixMinute(minute);
            // Quiet for some hours, then fifty times as loud for the rest of the week.
            let rate = if minute < 4 * 60 { 100.0 } else { 5_000.0 };
            baseline.learn(rate, Duration::from_secs(60), Situation::Alarm, &PACE, Some(now));
            let hours = minute.saturating_sub(4 * 60) as f64 / 60.0;
            let highest = 100.0 * 1.1_f64.powf(hours) * 1.01;
            let median = baseline.normal(Some(now)).map_or(0.0, |normal| normal.median);
            assert!(median <= highest, "after {hours:.0} hours: {median}, not {highest}");
        }
    }

    #[test]
    fn an_outage_is_soon_forgotten() {
        let mut baseline = Baseline::default();
        learn(&mut baseline, 300, 1_000.0, Situation::Quiet);
        learn(&mut baseline, 60, 0.0, Situation::Quiet);
        learn(&mut baseline, 5, 1_000.0, Situation::Quiet);
        assert!((median_of(&baseline) - 1_000.0).abs() < 1.0, "{:?}", baseline.level);
    }

    #[test]
    fn an_alarm_from_the_first_tick_is_learned_late_and_from_little_on() {
        let mut baseline = Baseline::default();
        learn(&mut baseline, 9, 20_000.0, Situation::Alarm);
        assert_eq!(baseline.normal(None), None);
        learn(&mut baseline, 5, 20_000.0, Situation::Alarm);
        assert!((median_of(&baseline) - 10.0).abs() < 1.0, "{:?}", baseline.level);
        learn(&mut baseline, 60, 20_000.0, Situation::Alarm);
        assert!(median_of(&baseline) < 13.0, "{:?}", baseline.level);
    }

    #[test]
    fn pulses_do_not_widen_what_counts_as_noise() {
        let mut baseline = Baseline::default();
        learn(&mut baseline, 60, 100.0, Situation::Quiet);
        for tick in 0..6 * 60_u32 {
            let rate = if tick % 2 == 0 { 290.0 } else { 100.0 };
            baseline.learn(rate, Duration::from_secs(10), Situation::Quiet, &PACE, None);
        }
        let normal = baseline.normal(None).unwrap();
        assert!(normal.median < 112.0 && normal.deviation < 2.0, "{normal:?}");
    }
}
