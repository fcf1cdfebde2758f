//! `Clock`: what the time stamps of one pcapng interface mean in nanoseconds.
//!
//! Worked out here because the library refuses resolutions that are a power of two. No division is
//! needed for the usual resolutions; what lies outside of the years 1970 to 2554 is clamped.

const NANOSECOND_DIGITS: u32 = 9;
const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// How the ticks of an interface become nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    resolution: Resolution,
    offset_ns: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    /// A tick is so many nanoseconds.
    Nanoseconds(u64),
    /// A nanosecond is so many ticks.
    TicksPerNanosecond(u64),
    /// Two to this power is how many ticks make a second.
    PowerOfTwo(u32),
}

impl Clock {
    /// From the options of the interface: `if_tsresol` and, in seconds, `if_tsoffset`.
    pub(super) fn new(resolution: u8, offset_seconds: i64) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let resolution = if resolution & 0x80 != 0 {
            Resolution::PowerOfTwo(exponent)
        } else if exponent <= NANOSECOND_DIGITS {
            Resolution::Nanoseconds(10_u64.pow(NANOSECOND_DIGITS - exponent))
        } else {
            let ticks = 10_u64.checked_pow(exponent - NANOSECOND_DIGITS);
            Resolution::TicksPerNanosecond(ticks.unwrap_or(u64::MAX))
        };
        let offset_ns = offset_seconds.saturating_mul(NANOSECONDS_PER_SECOND.cast_signed());
        Self { resolution, offset_ns }
    }

    /// The time that `ticks` stands for.
    pub(super) fn nanoseconds(self, ticks: u64) -> u64 {
        let since_offset = match self.resolution {
            Resolution::Nanoseconds(length) => ticks.saturating_mul(length),
            Resolution::TicksPerNanosecond(count) => ticks / count,
            Resolution::PowerOfTwo(exponent) => {
                let nanoseconds = (u128::from(ticks) * u128::from(NANOSECONDS_PER_SECOND)) >> exponent;
                u64::try_from(nanoseconds).unwrap_or(u64::MAX)
            }
        };
        since_offset.saturating_add_signed(self.offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_ticks_of_any_resolution_into_nanoseconds() {
        const SECOND: u64 = NANOSECONDS_PER_SECOND;
        for (description, resolution, offset_seconds, ticks, expected) in [
            ("seconds", 0, 0, 3, 3 * SECOND),
            ("milliseconds", 3, 0, 3_005, 3_005_000_000),
            ("microseconds, the default", 6, 0, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
            ("nanoseconds", 9, 0, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
            ("picoseconds", 12, 0, 5_999, 5),
            ("finer than any tick count can tell", 127, 0, u64::MAX - 1, 0),
            ("1/2 s", 0x81, 0, 3, 3 * SECOND / 2),
            ("1/1024 s", 0x8a, 0, 1024 + 512, 3 * SECOND / 2),
            ("2^-32 s, as in NTP", 0xa0, 0, (7 << 32) | (1 << 30), 7 * SECOND + SECOND / 4),
            ("2^-63 s", 0xbf, 0, 1 << 63, SECOND),
            ("2^-127 s", 0xff, 0, u64::MAX, 0),
            ("an offset", 6, 1_000, 1, 1_000 * SECOND + 1_000),
            ("an offset back", 6, -1, 1_500_000, SECOND / 2),
            ("before the epoch", 6, -2, 1_500_000, 0),
            ("past what 64 bits hold", 0, 0, u64::MAX, u64::MAX),
            ("offset past what 64 bits hold", 6, i64::MIN, 1, 0),
        ] {
            assert_eq!(Clock::new(resolution, offset_seconds).nanoseconds(ticks), expected, "{description}");
        }
    }
}
