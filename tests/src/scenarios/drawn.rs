//! `Drawn`: a number that is drawn anew each time, from an even range.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer};

use super::chance::Chance;

/// From `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    low: f64,
    high: f64,
}

impl Drawn {
    /// Always the same.
    pub(super) const fn fixed(value: f64) -> Self {
        Self { low: value, high: value }
    }

    /// `7` or `3..9`.
    ///
    /// # Errors
    ///
    /// When the text is neither, or ends before it begins.
    pub(super) fn number(text: &str) -> Result<Self> {
        Self::parse(text, |number| Ok(f64::from(number.parse::<u32>()?)))
    }

    /// In nanoseconds: `20ms` or `20ms..1m`.
    ///
    /// # Errors
    ///
    /// When the text is neither, or ends before it begins.
    pub(super) fn duration(text: &str) -> Result<Self> {
        Self::parse(text, |duration| Ok(humantime::parse_duration(duration)?.as_nanos() as f64))
    }

    fn parse(text: &str, one: impl Fn(&str) -> Result<f64>) -> Result<Self> {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        let one = |part| one(part).with_context(|| format!("`{part}` of `{text}` is not understood"));
        let drawn = Self { low: one(low)?, high: one(high)? };
        ensure!(drawn.low <= drawn.high, "`{text}` ends before it begins");
        Ok(drawn)
    }

    /// One of the range, as a whole number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is parsed is not negative, and saturates"
    )]
    pub(super) fn draw(&self, chance: &mut Chance) -> u64 {
        if self.low < self.high {
            (self.low + chance.share() * (self.high - self.low)).round() as u64
        } else {
            self.low as u64
        }
    }
}

/// A duration as people write it, for a field of the file.
pub(super) fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
}

/// A drawn duration, for a field of the file.
pub(super) fn drawn_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Drawn, D::Error> {
    let text = String::deserialize(deserializer)?;
    Drawn::duration(&text).map_err(|error| serde::de::Error::custom(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_or_refused() {
        for (text, expected) in [
            ("7", Some((7.0, 7.0))),
            ("3..9", Some((3.0, 9.0))),
            ("9..3", None),
            ("-1", None),
            ("", None),
            ("a..b", None),
        ] {
            let drawn = Drawn::number(text).ok().map(|drawn| (drawn.low, drawn.high));
            assert_eq!(drawn, expected, "{text}");
        }
        assert_eq!(Drawn::duration("20ms..1s").ok(), Some(Drawn { low: 2e7, high: 1e9 }));
        assert!(Drawn::duration("20").is_err());
        let mut chance = Chance::new(1, 0);
        let drawn: Vec<u64> = (0..1_000).map(|_| Drawn { low: 3.0, high: 9.0 }.draw(&mut chance)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&9)));
    }
}
