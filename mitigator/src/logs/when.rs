//! Times of log lines: Apache's and nginx's `17/May/2015:10:05:03 +0000`, ISO 8601, and seconds since the epoch.

/// Days from the Unix epoch to a date of the proleptic Gregorian calendar (Howard Hinnant's `days_from_civil`).
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A number of decimal digits alone, fewer than 18.
fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() >= 18 {
        return None;
    }
    let mut value = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

fn month(text: &[u8]) -> Option<i64> {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    MONTHS.iter().position(|name| *name == text).and_then(|place| i64::try_from(place + 1).ok())
}

/// Seconds of `+0530`, `-08:00`, `Z`; nothing is UTC.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let minutes = match rest.len() {
        5 if rest.get(2) == Some(&b':') => rest.get(3..)?,
        4 => rest.get(2..)?,
        2 => b"00",
        _ => return None,
    };
    Some(sign * (digits(rest.get(..2)?)? * 3_600 + digits(minutes)? * 60))
}

fn seconds(date: (i64, i64, i64), clock: &[u8], offset_s: i64) -> Option<i64> {
    let (year, month, day) = date;
    let (hour, minute, second) =
        (digits(clock.get(..2)?)?, digits(clock.get(3..5)?)?, digits(clock.get(6..8)?)?);
    let is_time = clock.get(2) == Some(&b':') && clock.get(5) == Some(&b':');
    let is_in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        // 60 is a leap second.
        && second <= 60;
    (is_time && is_in_range)
        .then(|| days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_s)
}

/// Seconds since the Unix epoch of `17/May/2015:10:05:03 +0000` or `2015-05-17T10:05:03.123Z`.
#[must_use]
pub fn parse(text: &[u8]) -> Option<i64> {
    if text.get(2) == Some(&b'/') && text.get(6) == Some(&b'/') && text.get(11) == Some(&b':') {
        let date = (digits(text.get(7..11)?)?, month(text.get(3..6)?)?, digits(text.get(..2)?)?);
        let zone = text.get(20..)?.trim_ascii_start();
        return seconds(date, text.get(12..20)?, offset(zone)?);
    }
    if text.get(4) == Some(&b'-') && text.get(7) == Some(&b'-') && matches!(text.get(10), Some(b'T' | b' ')) {
        let date = (digits(text.get(..4)?)?, digits(text.get(5..7)?)?, digits(text.get(8..10)?)?);
        let rest = text.get(19..)?;
        let fraction = match rest.first() {
            Some(b'.' | b',') => 1 + rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count(),
            _ => 0,
        };
        return seconds(date, text.get(11..19)?, offset(rest.get(fraction..)?.trim_ascii_start())?);
    }
    epoch(text)
}

/// Of `1431857103.123`, or of as many milliseconds, microseconds or nanoseconds.
fn epoch(text: &[u8]) -> Option<i64> {
    let whole = text.split(|byte| *byte == b'.').next()?;
    let value = digits(whole).or_else(|| std::str::from_utf8(whole).ok()?.parse().ok())?;
    Some(match value {
        0..100_000_000_000 => value,
        100_000_000_000..100_000_000_000_000 => value / 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => value / 1_000_000,
        100_000_000_000_000_000.. => value / 1_000_000_000,
        _ => return None,
    })
}

/// Remembers the last time: neighbouring lines mostly share theirs.
#[derive(Debug, Default)]
pub struct LastTime {
    text: Vec<u8>,
    at_s: Option<i64>,
}

impl LastTime {
    /// As [`parse`].
    pub fn parse(&mut self, text: &[u8]) -> Option<i64> {
        if self.text != text {
            self.text.clear();
            self.text.extend_from_slice(text);
            self.at_s = parse(text);
        }
        self.at_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_times_that_logs_have() {
        for (text, expected) in [
            ("17/May/2015:10:05:03 +0000", Some(1_431_857_103)),
            ("26/Jun/2020:22:34:04 +0530", Some(1_593_191_044)),
            ("01/Jan/1970:00:00:00 +0000", Some(0)),
            ("29/Feb/2024:23:59:60 -0800", Some(1_709_280_000)),
            ("2015-05-17T10:05:03Z", Some(1_431_857_103)),
            ("2015-05-17T10:05:03.123456+00:00", Some(1_431_857_103)),
            ("2015-05-17 12:05:03,5 +0200", Some(1_431_857_103)),
            ("1431857103", Some(1_431_857_103)),
            ("1431857103.123", Some(1_431_857_103)),
            ("1431857103123", Some(1_431_857_103)),
            ("17/Mai/2015:10:05:03 +0000", None),
            ("32/May/2015:10:05:03 +0000", None),
            ("17/May/2015:24:05:03 +0000", None),
            ("17/May/2015:10:05", None),
            ("-", None),
            ("", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
            let mut last = LastTime::default();
            assert_eq!((last.parse(text.as_bytes()), last.parse(text.as_bytes())), (expected, expected));
        }
    }
}
