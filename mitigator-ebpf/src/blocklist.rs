//! Judges one packet by the block tables.
#![expect(unsafe_code, reason = "reads and counts through map value pointers")]

use aya_ebpf::btf_maps::lpm_trie::Key;
use mitigator_common::{BLOCKED_PREFIXES, BlockEntry, Outcome, PrefixKey};
use mitigator_ebpf::packet::Packet;
use mitigator_ebpf::shared::SharedU64;

use crate::maps::{BLOCK_COUNTS, BLOCK_PREFIXES, BLOCKLIST};
use crate::{allowlist, clock};

/// What the block tables say of a packet.
pub enum Verdict {
    /// Drop it, with this outcome.
    Blocked(Outcome),
    /// A block covers it, the allow list beats the block.
    Excepted,
    /// No unexpired block covers it.
    NotListed,
}

/// Looks up the source, then, while prefixes are blocked, the full address.
#[inline(always)]
pub fn judge(packet: &Packet) -> Verdict {
    let mut excepted = false;
    if let Some(entry) = BLOCKLIST.get_ptr_mut(&packet.source) {
        match judge_entry(entry, packet) {
            EntryVerdict::Drop => return Verdict::Blocked(Outcome::DropBlocked),
            EntryVerdict::Excepted => excepted = true,
            EntryVerdict::Expired => {}
        }
    }
    if !excepted && BLOCK_COUNTS.get(BLOCKED_PREFIXES).is_some_and(|count| *count != 0) {
        match judge_prefixes(packet) {
            EntryVerdict::Drop => return Verdict::Blocked(Outcome::DropBlockedPrefix),
            EntryVerdict::Excepted => excepted = true,
            EntryVerdict::Expired => {}
        }
    }
    if excepted { Verdict::Excepted } else { Verdict::NotListed }
}

/// Nested prefixes looked at before a packet passes: an expired longer one may hide a live shorter one.
const MAX_NESTED_PREFIXES: usize = 8;

#[inline(always)]
fn judge_prefixes(packet: &Packet) -> EntryVerdict {
    let mut key = Key::new(PrefixKey::FULL, packet.address);
    for _ in 0..MAX_NESTED_PREFIXES {
        let Some(entry) = BLOCK_PREFIXES.get(&key) else {
            break;
        };
        let length = entry.prefix_length();
        match judge_entry(core::ptr::from_ref(entry).cast_mut(), packet) {
            EntryVerdict::Expired if length > 0 => key = Key::new(length - 1, packet.address),
            verdict => return verdict,
        }
    }
    EntryVerdict::Expired
}

enum EntryVerdict {
    Drop,
    Excepted,
    Expired,
}

#[inline(always)]
fn judge_entry(entry: *mut BlockEntry, packet: &Packet) -> EntryVerdict {
    // SAFETY: a value pointer that the map returned stays readable until the program returns; user
    // space replaces values as a whole.
    let (is_expired, has_exceptions) =
        unsafe { ((*entry).is_expired(clock::now_ns()), (*entry).has_exceptions()) };
    if is_expired {
        return EntryVerdict::Expired;
    }
    if has_exceptions && allowlist::covers(packet.address) {
        return EntryVerdict::Excepted;
    }
    // SAFETY: as above; the field is aligned, and other CPUs add to it atomically too.
    unsafe { &*(&raw const (*entry).hits).cast::<SharedU64>() }.add(1);
    EntryVerdict::Drop
}
