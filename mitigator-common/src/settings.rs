//! What is fixed when the program is loaded.

use bytemuck::{Pod, Zeroable};

/// Number of the layout of every pinned map. A change of any type in this crate raises it; pins of
/// different schemas never meet, because the number is part of the pin path.
pub const SCHEMA: u32 = 9;

/// Constants of one load; the verifier prunes what they switch off.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct DataPlaneSettings {
    /// 1 when the kernel has `bpf_ktime_get_coarse_ns` (5.11), 0 to use `bpf_ktime_get_ns`.
    pub coarse_clock: u32,
    /// 1 when the kernel can make the cookie of a listener for an XDP program (5.3), 0 to answer no SYN.
    pub syn_cookies: u32,
}

const _: () = assert!(size_of::<DataPlaneSettings>() == 8);
