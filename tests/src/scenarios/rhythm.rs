//! `Rhythm`: how busy a population is over time.

use std::time::Duration;

use serde::Deserialize;

use super::drawn::length;

/// How busy a population is over time, as a factor on its rate.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rhythm {
    /// Always as busy.
    #[default]
    Even,
    /// Busy and still in turn.
    Pulse {
        /// How long it is busy.
        #[serde(deserialize_with = "length")]
        on: Duration,
        /// How long it is still.
        #[serde(deserialize_with = "length")]
        off: Duration,
    },
    /// Busiest at three in the afternoon; the scenario begins at midnight.
    Day {
        /// The factor twelve hours later.
        low: f64,
    },
    /// More of it once: it rises, stays and falls.
    Surge {
        /// When it begins to rise.
        #[serde(deserialize_with = "length")]
        at: Duration,
        /// How long it rises, and falls.
        #[serde(deserialize_with = "length")]
        rise: Duration,
        /// How long it stays.
        #[serde(deserialize_with = "length")]
        stay: Duration,
        /// The factor while it stays.
        factor: f64,
    },
    /// More and more of it.
    Growth {
        /// What is added each minute, as a share.
        per_minute: f64,
        /// The factor at which it stops to grow.
        to: f64,
    },
}

/// The rhythm is looked at anew after this much time, in seconds.
const STEP_S: f64 = 30.0;
const DAY_S: f64 = 86_400.0;
/// Three in the afternoon.
const PEAK_S: f64 = 54_000.0;

impl Rhythm {
    /// The factor after `second` seconds.
    #[must_use]
    pub fn factor(&self, second: f64) -> f64 {
        match self {
            Self::Even => 1.0,
            Self::Pulse { on, off } => {
                let is_on = second % (on.as_secs_f64() + off.as_secs_f64()) < on.as_secs_f64();
                f64::from(u8::from(is_on))
            }
            Self::Day { low } => {
                let height = ((second - PEAK_S) / DAY_S * std::f64::consts::TAU).cos();
                low + (1.0 - low) * (1.0 + height) / 2.0
            }
            Self::Surge { at, rise, stay, factor } => {
                let (since, rise, stay) = (second - at.as_secs_f64(), rise.as_secs_f64(), stay.as_secs_f64());
                let height = (since / rise).min((rise + stay + rise - since) / rise).clamp(0.0, 1.0);
                1.0 + (factor - 1.0) * height
            }
            Self::Growth { per_minute, to } => (1.0 + per_minute).powf(second / 60.0).min(*to),
        }
    }

    /// When `busy` seconds at factor 1 have gone by since `second`.
    #[must_use]
    pub fn after(&self, mut second: f64, mut busy: f64) -> f64 {
        match self {
            Self::Even => second + busy,
            Self::Pulse { on, off } => {
                let (on, period) = (on.as_secs_f64(), on.as_secs_f64() + off.as_secs_f64());
                let before = (second / period).floor() * on + (second % period).min(on);
                let target = before + busy;
                (target / on).floor() * period + target % on
            }
            _ => loop {
                let factor = self.factor(second).max(1e-9);
                if busy <= factor * STEP_S {
                    return second + busy / factor;
                }
                busy -= factor * STEP_S;
                second += STEP_S;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_and_their_times_agree() {
        let seconds = Duration::from_secs;
        for (rhythm, from, busy, expected) in [
            (Rhythm::Even, 5.0, 3.0, 8.0),
            (Rhythm::Pulse { on: seconds(1), off: seconds(5) }, 0.5, 0.25, 0.75),
            (Rhythm::Pulse { on: seconds(1), off: seconds(5) }, 0.5, 0.75, 6.25),
            (Rhythm::Pulse { on: seconds(1), off: seconds(5) }, 3.0, 0.5, 6.5),
            (Rhythm::Pulse { on: seconds(1), off: seconds(5) }, 0.0, 2.5, 12.5),
            (Rhythm::Day { low: 0.2 }, PEAK_S, 1.0, PEAK_S + 1.0),
            (Rhythm::Day { low: 0.25 }, PEAK_S - DAY_S / 2.0, 1.0, PEAK_S - DAY_S / 2.0 + 4.0),
            (
                Rhythm::Surge { at: seconds(100), rise: seconds(10), stay: seconds(50), factor: 4.0 },
                120.0,
                40.0,
                130.0,
            ),
            (Rhythm::Growth { per_minute: 1.0, to: 8.0 }, 600.0, 80.0, 610.0),
        ] {
            let after = rhythm.after(from, busy);
            assert!((after - expected).abs() < 0.01, "{rhythm:?}: {after}, not {expected}");
        }
        let surge = Rhythm::Surge { at: seconds(100), rise: seconds(10), stay: seconds(50), factor: 4.0 };
        for (second, expected) in [(0.0, 1.0), (105.0, 2.5), (120.0, 4.0), (165.0, 2.5), (500.0, 1.0)] {
            assert!((surge.factor(second) - expected).abs() < 0.01, "{second}");
        }
    }
}
