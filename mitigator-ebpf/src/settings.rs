//! What was fixed when the program was loaded.
#![expect(unsafe_code, reason = "a constant that the loader finds by its name and replaces")]

use mitigator_common::DataPlaneSettings;

/// Set by the loader; the verifier removes the branches that are not taken.
#[unsafe(no_mangle)]
static SETTINGS: DataPlaneSettings = DataPlaneSettings { coarse_clock: 0, syn_cookies: 0 };

/// Whether there is `bpf_ktime_get_coarse_ns`.
#[inline(always)]
pub fn has_coarse_clock() -> bool {
    // SAFETY: a plain read of a constant, which the loader replaces before loading.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS.coarse_clock) == 1 }
}

/// Whether there is `bpf_tcp_gen_syncookie`.
#[inline(always)]
pub fn has_syn_cookies() -> bool {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS.syn_cookies) == 1 }
}
