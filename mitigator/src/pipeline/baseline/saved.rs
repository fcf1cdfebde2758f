//! What was learned, as it is kept across restarts: JSON with a number of its format, checked before it is believed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Baseline, services};

/// Raised whenever older ones must not be read.
const FORMAT: u32 = 1;
const DAY: Duration = Duration::from_hours(24);
const FOUR_WEEKS: Duration = Duration::from_hours(4 * 7 * 24);

/// Everything an agent has learned to be normal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// See [`FORMAT`].
    format: u32,
    /// How long it was quiet meanwhile, in seconds.
    pub quiet_s: u64,
    /// Over ticks, by the name of the vector.
    pub ticks: BTreeMap<String, LearnedVector>,
    /// Over windows of some seconds.
    pub windows: BTreeMap<String, LearnedVector>,
}

/// What is normal for one vector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedVector {
    /// In total.
    pub total: Baseline,
    /// By port.
    pub services: BTreeMap<u16, Baseline>,
}

impl Learned {
    /// What was learned over both spans.
    #[must_use]
    pub const fn new(
        quiet_s: u64,
        ticks: BTreeMap<String, LearnedVector>,
        windows: BTreeMap<String, LearnedVector>,
    ) -> Self {
        Self { format: FORMAT, quiet_s, ticks, windows }
    }

    /// As text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Only maps with keys that are no strings cannot be written, and numbers are.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From text.
    ///
    /// # Errors
    ///
    /// When it is of another format, damaged, or holds what cannot have been learned; the error says which.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let learned: Self = serde_json::from_str(text).map_err(|error| format!("it is damaged: {error}"))?;
        if learned.format != FORMAT {
            return Err(format!("it has format {}, not {FORMAT}", learned.format));
        }
        let vectors = || learned.ticks.values().chain(learned.windows.values());
        if vectors().any(|vector| vector.services.len() > services::MOST) {
            return Err("it has more services than are ever learned".to_owned());
        }
        let mut baselines =
            vectors().flat_map(|vector| std::iter::once(&vector.total).chain(vector.services.values()));
        if !baselines.all(Baseline::is_sound) {
            return Err("it has numbers that are no rates".to_owned());
        }
        Ok(learned)
    }

    /// What is left of it when nobody learned for a while: all within a day, what is usual at each hour within four
    /// weeks, then nothing.
    #[must_use]
    pub fn after(self, pause: Duration) -> Option<Self> {
        match pause {
            pause if pause < DAY => Some(self),
            pause if pause < FOUR_WEEKS => Some(self.keep_weeks()),
            _ => None,
        }
    }

    /// The same with what an older one knows of the hours of the day, and with its quiet time.
    #[must_use]
    pub fn with_weeks_of(mut self, older: Self) -> Self {
        let recall = |known: &mut BTreeMap<String, LearnedVector>,
                      mut older: BTreeMap<String, LearnedVector>| {
            for (name, vector) in known {
                let Some(mut older) = older.remove(name) else { continue };
                vector.total.recall_weeks(older.total);
                for (port, baseline) in &mut vector.services {
                    older.services.remove(port).into_iter().for_each(|older| baseline.recall_weeks(older));
                }
            }
        };
        recall(&mut self.ticks, older.ticks);
        recall(&mut self.windows, older.windows);
        Self { quiet_s: older.quiet_s, ..self }
    }

    fn keep_weeks(self) -> Self {
        let aged = |vectors: BTreeMap<String, LearnedVector>| {
            let age = |(name, vector): (String, LearnedVector)| {
                let services = vector.services.into_iter();
                let services = services.map(|(port, baseline)| (port, baseline.keep_weeks())).collect();
                (name, LearnedVector { total: vector.total.keep_weeks(), services })
            };
            vectors.into_iter().map(age).collect()
        };
        Self { ticks: aged(self.ticks), windows: aged(self.windows), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::baseline::{Normal, Pace, Situation};
    use crate::pipeline::time::UnixMinute;

    fn learned() -> Learned {
        let mut total = Baseline::default();
        let pace = Pace { rise_per_hour: 0.1, harmless: Normal::default() };
        for minute in 0..5 * 24 * 60_u64 {
            let rate = if minute / 60 % 24 == 18 { 812.345_67 } else { 100.1 };
            let now = UnixMinute(29_000_000 + minute);
            total.learn(rate, Duration::from_secs(60), Situation::Quiet, &pace, Some(now));
        }
        let services = BTreeMap::from([(443, total.clone())]);
        let vectors = BTreeMap::from([("udp-flood".to_owned(), LearnedVector { total, services })]);
        Learned::new(77, vectors.clone(), vectors)
    }

    #[test]
    fn what_was_written_is_read_again() {
        let learned = learned();
        let text = learned.to_json();
        assert_eq!(Learned::from_json(&text).as_ref(), Ok(&learned));
        assert!((1_000..100_000).contains(&text.len()), "{} bytes", text.len());
    }

    #[test]
    fn what_cannot_have_been_learned_is_refused() {
        let text = learned().to_json();
        let many: BTreeMap<u16, Baseline> = (0..65).map(|port| (port, Baseline::default())).collect();
        let many = LearnedVector { services: many, ..LearnedVector::default() };
        let many = Learned::new(1, BTreeMap::from([("scan".to_owned(), many)]), BTreeMap::new());
        let level = text.split("\"level\":").nth(1).unwrap().split('}').next().unwrap().to_owned() + "}";
        for (description, damaged) in [
            ("nothing", String::new()),
            ("cut short", text[..text.len() / 2].to_owned()),
            ("another format", text.replacen("\"format\":1", "\"format\":2", 1)),
            ("an unknown key", text.replacen("\"format\":1", "\"format\":1,\"more\":1", 1)),
            ("a negative rate", text.replacen("100.1", "-100.1", 1)),
            ("an infinite rate", text.replacen("100.1", "1e39", 1)),
            ("no number", text.replacen("100.1", "NaN", 1)),
            ("null for a rate", text.replacen("100.1", "null", 1)),
            ("a negative level", text.replacen(&level, "{\"median\":-1.0,\"deviation\":0.0}", 1)),
            (
                "a day of too many hours",
                text.replacen("\"blocks\":[", &format!("\"blocks\":[{}", "1.0,".repeat(200)), 1),
            ),
            ("too many services", many.to_json()),
        ] {
            assert!(damaged != text, "{description}");
            assert!(Learned::from_json(&damaged).is_err(), "{description}");
        }
    }

    #[test]
    fn who_has_learned_meanwhile_takes_over_the_hours_alone() {
        let pace = Pace { rise_per_hour: 0.1, harmless: Normal::default() };
        let steady = |rate, minutes: std::ops::Range<u64>| {
            let mut total = Baseline::default();
            for minute in minutes.clone() {
                let now = Some(UnixMinute(minute));
                total.learn(rate, Duration::from_secs(60), Situation::Quiet, &pace, now);
            }
            let vector = LearnedVector { total, services: BTreeMap::new() };
            Learned::new(
                (minutes.end - minutes.start) * 60,
                BTreeMap::from([("udp-flood".to_owned(), vector)]),
                BTreeMap::new(),
            )
        };
        let (older, noon) = (20_000 * 24 * 60, 20_006 * 24 * 60 + 12 * 60);
        let older = steady(900.0, older..older + 5 * 24 * 60);
        for (rate, expected) in [(500.0, 900.0), (1_200.0, 1_200.0)] {
            let own = steady(rate, noon..noon + 90);
            let minutes = own.ticks.get("udp-flood").unwrap().total.minutes.clone();
            let both = own.with_weeks_of(older.clone());
            let total = &both.ticks.get("udp-flood").unwrap().total;
            assert!(total.minutes == minutes, "its own minutes stay");
            let normal = total.normal(Some(UnixMinute(noon + 90))).unwrap();
            assert!((normal.median - expected).abs() < 1.0, "{normal:?}");
            let unknown = total.normal(None).unwrap();
            assert!((unknown.median - rate).abs() < 1.0, "{unknown:?}");
            assert_eq!((both.quiet_s, total.is_sound()), (older.quiet_s, true));
        }
    }

    #[test]
    fn after_a_day_only_the_hours_are_left() {
        let learned = learned();
        assert_eq!(learned.clone().after(Duration::from_hours(23)).as_ref(), Some(&learned));
        assert_eq!(learned.clone().after(Duration::from_hours(24 * 28)), None);
        let aged = learned.after(Duration::from_hours(24)).unwrap();
        let total = &aged.ticks.get("udp-flood").unwrap().total;
        let evening = UnixMinute(29_000_000 / (24 * 60) * 24 * 60 + 30 * 24 * 60);
        assert_eq!((total.normal(Some(evening)), total.is_grown()), (None, false));
        assert!(total.weeks != crate::pipeline::baseline::Weeks::default());
    }
}
