//! The machine's clocks: monotonic, as the data plane counts, and wall-clock, as people do.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::pipeline::time::{Timestamp, WallClock};

/// One reading of both clocks, by which times of one are told in the other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    monotonic_ns: u64,
    unix_ns: u64,
}

impl Clock {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        Self { monotonic_ns: read(ClockId::CLOCK_MONOTONIC), unix_ns: read(ClockId::CLOCK_REALTIME) }
    }

    /// The monotonic reading.
    #[must_use]
    pub const fn monotonic(&self) -> Timestamp {
        Timestamp::from_ns(self.monotonic_ns)
    }

    /// The wall-clock reading, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_ms(&self) -> u64 {
        self.unix_ns / 1_000_000
    }

    /// What ties the two together.
    #[must_use]
    pub const fn wall_clock(&self) -> WallClock {
        WallClock { zero_unix_ns: self.unix_ns.saturating_sub(self.monotonic_ns) }
    }

    /// A monotonic time as milliseconds since the Unix epoch.
    #[must_use]
    pub const fn to_unix_ms(&self, at: Timestamp) -> u64 {
        if at.ns >= self.monotonic_ns {
            self.unix_ns.saturating_add(at.ns - self.monotonic_ns) / 1_000_000
        } else {
            self.unix_ns.saturating_sub(self.monotonic_ns - at.ns) / 1_000_000
        }
    }

    /// Milliseconds since the Unix epoch as a monotonic time; what was before the machine's start is its start.
    #[must_use]
    pub const fn from_unix_ms(&self, at: u64) -> Timestamp {
        let at_ns = at.saturating_mul(1_000_000);
        Timestamp::from_ns(if at_ns >= self.unix_ns {
            self.monotonic_ns.saturating_add(at_ns - self.unix_ns)
        } else {
            self.monotonic_ns.saturating_sub(self.unix_ns - at_ns)
        })
    }
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_either_clock() {
        let clock = Clock { monotonic_ns: 5_000_000_000, unix_ns: 1_000_000_000_000 };
        for (description, monotonic_ms, unix_ms) in
            [("the reading", 5_000, 1_000_000), ("later", 65_000, 1_060_000), ("earlier", 4_000, 999_000)]
        {
            let at = Timestamp::from_ns(monotonic_ms * 1_000_000);
            assert_eq!((clock.to_unix_ms(at), clock.from_unix_ms(unix_ms)), (unix_ms, at), "{description}");
        }
        assert_eq!(clock.from_unix_ms(1), Timestamp::from_ns(0), "before the start");
        assert_eq!(clock.from_unix_ms(u64::MAX).ns, u64::MAX - 1_000_000_000_000 + 5_000_000_000);
    }
}
