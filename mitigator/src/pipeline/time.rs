//! `Timestamp`: an instant on the clock of the data plane; `WallClock`: what people call it.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds on the data plane's monotonic clock; in replay, on the capture's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Since an instant that only the data plane knows.
    pub ns: u64,
}

impl Timestamp {
    /// From nanoseconds.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self { ns }
    }

    /// Time since `earlier`; zero when that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(earlier.ns))
    }

    /// Earlier by a duration; `None` before the clock began.
    #[must_use]
    pub fn ago(self, duration: Duration) -> Option<Self> {
        let ns = u64::try_from(duration.as_nanos()).ok()?;
        self.ns.checked_sub(ns).map(Self::from_ns)
    }
}

/// Later by a duration; the end of the clock at most.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self { ns: self.ns.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)) }
    }
}

/// What ties a data plane's clock to the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Time since the Unix epoch when the data plane's clock was at zero, in nanoseconds.
    pub zero_unix_ns: u64,
}

impl WallClock {
    /// The minute of the wall clock that an instant falls into.
    #[must_use]
    pub const fn minute_of(self, at: Timestamp) -> UnixMinute {
        UnixMinute(self.zero_unix_ns.saturating_add(at.ns) / 60_000_000_000)
    }
}

/// Whole minutes since the Unix epoch. Days and hours begin as in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMinute(pub u64);

impl UnixMinute {
    /// Whole hours since the Unix epoch.
    #[must_use]
    pub const fn hour(self) -> u64 {
        self.0 / 60
    }
}
