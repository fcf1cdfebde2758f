//! `JiffyClock`: how the kernel's count of timer ticks and the monotonic clock go together.
//!
//! Jiffies cost a packet next to nothing, but user space is not told them. The kernel keeps both in step: a tick is
//! counted when the monotonic clock has come so far, and the coarse clock is read then. So one reading of both is
//! enough.

use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use nix::time::{ClockId, clock_getres, clock_gettime};

/// What makes a monotonic time of jiffies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JiffyClock {
    /// Nanoseconds of a jiffy.
    pub(super) tick_ns: u32,
    /// The monotonic clock at jiffy 0, modulo 2^64.
    pub(super) zero_ns: u64,
}

/// Readings that are tried: between two ticks there is time for some hundred.
const READINGS: usize = 100;
/// As the kernel can be built: 100 to 1000 ticks a second.
const TICKS_NS: std::ops::RangeInclusive<u64> = 1_000_000..=10_000_000;
/// Jiffies begin so long before the machine's start, so that they are seen to pass 2^32 soon (`INITIAL_JIFFIES`).
const BEGIN_BEFORE: Duration = Duration::from_secs(300);

impl JiffyClock {
    /// Reads both clocks; `None` where they do not go together. `tell_jiffies` is loaded.
    ///
    /// # Errors
    ///
    /// When the kernel cannot run the program.
    pub(super) fn find_out(tell_jiffies: &mut Xdp) -> Result<Option<Self>> {
        if is_in_a_time_namespace() {
            return Ok(None);
        }
        let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from);
        let tick_ns = match resolution.map(|tick| u64::try_from(tick.as_nanos()).unwrap_or(0)) {
            Ok(tick_ns) if TICKS_NS.contains(&tick_ns) => tick_ns,
            _ => return Ok(None),
        };
        // Two that agree: once, a reading may have met the kernel between its two clocks.
        let mut found = None;
        for _ in 0..READINGS {
            let before_ns = coarse_ns()?;
            let jiffies = lower_half(tell_jiffies)?;
            if coarse_ns()? != before_ns {
                continue;
            }
            let zero_ns = zero_of(before_ns, tick_ns, jiffies);
            if found == Some(zero_ns) {
                let tick_ns = u32::try_from(tick_ns).context("ticks are short")?;
                return Ok(Some(Self { tick_ns, zero_ns }));
            }
            found = Some(zero_ns);
        }
        Ok(None)
    }
}

/// Whether this process sees another monotonic clock than the kernel's own (time namespaces, 5.6).
fn is_in_a_time_namespace() -> bool {
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    offsets.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("monotonic") && words.any(|offset| offset != "0")
    })
}

fn coarse_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).context("cannot read the coarse clock")?;
    Ok(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}

fn lower_half(tell_jiffies: &mut Xdp) -> Result<u32> {
    let mut output = [0; 64];
    let mut options = TestRunOptions::new();
    options.data_in = Some(&[0; 64]);
    options.data_out = Some(&mut output);
    Ok(tell_jiffies.test_run(options).context("the kernel's test run failed")?.return_value)
}

/// The monotonic clock at jiffy 0, when it is `now_ns` and the jiffies end in `lower_half`. Their upper half follows
/// from about how many there must be.
fn zero_of(now_ns: u64, tick_ns: u64, lower_half: u32) -> u64 {
    let since_start = now_ns / tick_ns;
    let before_start = u64::try_from(BEGIN_BEFORE.as_nanos()).unwrap_or(u64::MAX) / tick_ns;
    let about = (1 << 32) - before_start + since_start;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half, whose difference is small either way"
    )]
    let off = lower_half.wrapping_sub(about as u32).cast_signed();
    let jiffies = about.wrapping_add_signed(off.into());
    now_ns.wrapping_sub(jiffies.wrapping_mul(tick_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_makes_the_time_of_jiffies_before_and_after_they_pass_32_bits() {
        const TICK_NS: u64 = 4_000_000;
        let first: u64 = (1 << 32) - 300 * 250;
        for (seconds, off) in [(1, 0), (299, 40), (300, 0), (301, -40), (40_000_000, 1_000)] {
            let jiffies = (first + seconds * 250).wrapping_add_signed(off);
            let now_ns = seconds * 1_000_000_000;
            #[expect(clippy::cast_possible_truncation, reason = "as the program tells it")]
            let zero_ns = zero_of(now_ns, TICK_NS, jiffies as u32);
            assert_eq!(jiffies.wrapping_mul(TICK_NS).wrapping_add(zero_ns), now_ns, "{seconds} s");
        }
    }
}
