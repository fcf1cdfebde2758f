//! The demo's clock and its pauses: an edge that watches real time pass.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "the demo measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the agent's verdicts carry calendar times to compare with")]
pub(crate) fn calendar() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::disallowed_methods, reason = "phases last as long as they last")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

pub(crate) fn pause_until(due: Instant) {
    pause(due.saturating_duration_since(now()));
}

/// A duration below `bound` that nobody can foresee, from the clock's last digits.
pub(crate) fn chance_below(bound: Duration) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "the digits of the time are the chance")]
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    bound.mul_f64(f64::from(nanoseconds % 1_000_003) / 1_000_003.0)
}

/// Milliseconds since 1970, as the agent's verdicts count them.
pub(crate) fn unix_ms(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}
