//! The data plane's clock: monotonic nanoseconds, as coarse as a timer tick where the kernel can.
#![expect(unsafe_code, reason = "helper calls")]

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use mitigator_ebpf::block_table::LiveHeader;

use crate::settings;

/// Nanoseconds on `CLOCK_MONOTONIC`, as of the last timer tick.
///
/// By `bpf_jiffies64` (5.6), which is a load, where the loader found out how jiffies and this clock go together.
/// Otherwise by `bpf_ktime_get_coarse_ns` (5.11), ten times cheaper than `bpf_ktime_get_ns`.
#[inline(always)]
pub fn now_ns(header: &LiveHeader) -> u64 {
    let tick_ns = u64::from(header.tick_ns.get());
    if tick_ns != 0 {
        return jiffies().wrapping_mul(tick_ns).wrapping_add(header.jiffy_zero_ns.get());
    }
    // SAFETY: both helpers take no argument and cannot fail.
    unsafe { if settings::has_coarse_clock() { bpf_ktime_get_coarse_ns() } else { bpf_ktime_get_ns() } }
}

/// Timer ticks since some time before the machine's start.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { bpf_jiffies64() }
}
