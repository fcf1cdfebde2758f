//! The data plane's clock: monotonic nanoseconds, as coarse as a timer tick where the kernel can.
#![expect(unsafe_code, reason = "helper calls, and a constant that the loader finds by its name")]

use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use mitigator_common::DataPlaneSettings;

/// Set by the loader; the verifier removes the branch that is not taken.
#[unsafe(no_mangle)]
static SETTINGS: DataPlaneSettings = DataPlaneSettings { coarse_clock: 0 };

/// Nanoseconds on `CLOCK_MONOTONIC`.
///
/// `bpf_ktime_get_coarse_ns` (kernel 5.11) is ten times cheaper than `bpf_ktime_get_ns`.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: a plain read of a constant that the loader replaces before loading; both helpers take
    // no argument and cannot fail.
    unsafe {
        if core::ptr::read_volatile(&raw const SETTINGS).coarse_clock == 1 {
            bpf_ktime_get_coarse_ns()
        } else {
            bpf_ktime_get_ns()
        }
    }
}
