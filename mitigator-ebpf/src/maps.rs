//! Every map: what it holds, who writes, who reads, how large it is, what happens when it is full.
//!
//! Capacities are the loader's to set; the figures here are the defaults. Names have at most 15
//! characters, the kernel's limit.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use mitigator_common::{
    AllowEntry, BlockEntry, Limit, Outcome, Signature, Source, SourceCounters, WideAddress,
};

/// Totals per source since first seen.
///
/// Written here, read by user space once per tick. When full, the kernel evicts sources not seen
/// lately: a spoofed flood forgets old sources but cannot grow memory.
#[btf_map]
pub static SOURCE_COUNTERS: LruHashMap<Source, SourceCounters, 262_144> = LruHashMap::new();

/// Blocked sources. Written by user space, hits added here. When full, writing fails and says so:
/// nothing is ever evicted.
#[btf_map]
pub static BLOCKLIST: HashMap<Source, BlockEntry, 1_048_576, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Blocked prefixes finer or coarser than a source. Written by user space, hits added here.
#[btf_map]
pub static BLOCK_PREFIXES: LpmTrie<WideAddress, BlockEntry, 65_536> = LpmTrie::new();

/// Prefixes that no block may touch. Written by user space.
#[btf_map]
pub static ALLOWLIST: LpmTrie<WideAddress, AllowEntry, 65_536> = LpmTrie::new();

/// How many sources ([`BLOCKED_SOURCES`]) and prefixes ([`BLOCKED_PREFIXES`]) are blocked and how many
/// limits ([`LIMITS`]) there are, or more, never fewer: without any, no packet pays for the look-up, and nobody walks an empty table. Written by user space
/// before blocks go in and after they are gone.
///
/// [`BLOCKED_SOURCES`]: mitigator_common::BLOCKED_SOURCES
/// [`BLOCKED_PREFIXES`]: mitigator_common::BLOCKED_PREFIXES
/// [`LIMITS`]: mitigator_common::LIMITS
#[btf_map]
pub static BLOCK_COUNTS: Array<u32, 3> = Array::new();

/// How many packets of each signature pass. Written by user space, which keeps them few; counted here.
#[btf_map]
pub static SIGNATURE_LIMITS: HashMap<Signature, Limit, 64> = HashMap::new();

/// Packets per [`Outcome`]. Written here, per CPU; read by user space.
#[btf_map]
pub static OUTCOMES: PerCpuArray<u64, { Outcome::COUNT }> = PerCpuArray::new();
