//! The machine's clocks: monotonic, as the data plane counts, and wall-clock, as people do.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::pipeline::time::Timestamp;

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

    /// A monotonic time as milliseconds since the Unix epoch.
    #[must_use]
    pub const fn to_unix_ms(&self, at: Timestamp) -> u64 {
        if at.ns >= self.monotonic_ns {
            self.unix_ns.saturating_add(at.ns - self.monotonic_ns) / 1_000_000
        } else {
            self.unix_ns.saturating_sub(self.monotonic_ns - at.ns) / 1_000_000
        }
    }
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
