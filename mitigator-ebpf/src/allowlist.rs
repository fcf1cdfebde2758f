//! Asks the allow list about one full address.

use aya_ebpf::btf_maps::lpm_trie::Key;
use mitigator_common::{PrefixKey, WideAddress};

use crate::maps::ALLOWLIST;

/// Whether an allowed prefix covers the address.
#[inline(always)]
pub fn covers(address: WideAddress) -> bool {
    ALLOWLIST.get(&Key::new(PrefixKey::FULL, address)).is_some()
}

/// Whether it is an address of this machine.
#[inline(always)]
pub fn is_own(address: WideAddress) -> bool {
    ALLOWLIST.get(&Key::new(PrefixKey::FULL, address)).is_some_and(|entry| entry.is_own())
}
