//! Every map: what it holds, who writes, who reads, how large it is, what happens when it is full.
//!
//! Capacities are the loader's to set; the figures here are the defaults. Names have at most 15
//! characters, the kernel's limit.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, PerCpuArray};
use aya_ebpf::macros::btf_map;
use mitigator_common::{
    AllowEntry, BlockEntry, BlockRegion, CpuState, Limit, PlacedBlock, Signature, Source, SourceTable,
    WideAddress,
};
use mitigator_ebpf::block_table::{LiveBlock, LiveHits, LiveLine, LiveMarks, LiveOverflowingBlock};
use mitigator_ebpf::counters::{OwnersLine, RowDetails};
use mitigator_ebpf::sketch::LiveSketch;
use mitigator_ebpf::source_table::LiveBucket;

const _: () =
    assert!(size_of::<LiveLine>() == 64 && size_of::<LiveBlock>() == 16 && size_of::<LiveHits>() == 16);
const _: () = assert!(size_of::<LiveOverflowingBlock>() == size_of::<PlacedBlock>());

/// What tells the rows of the next map apart. Written here, read by user space through a mapping of the memory (5.5).
#[btf_map]
pub static SOURCE_BUCKETS: Array<
    LiveBucket,
    { SourceTable::buckets_for(262_144) as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();

/// Totals per source since first seen. Written here, read by user space once per tick, as above. When a source finds both
/// its buckets full, a row that was quiet for long goes to it: a spoofed flood forgets old sources but cannot grow
/// memory, and makes no more rows than [`mitigator_common::InsertionBudget`] allows.
#[btf_map]
pub static SOURCE_ROWS: Array<
    OwnersLine,
    { SourceTable::new(SourceTable::buckets_for(262_144)).rows() as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();

/// The rest of each row, which few packets touch: of the CPUs that do not own the row, or of rare kinds. As above.
#[btf_map]
pub static SOURCE_DETAILS: Array<
    RowDetails,
    { SourceTable::new(SourceTable::buckets_for(262_144)).rows() as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();

/// Sources without a row while they are a crowd, a sketch for each CPU. Written and read here.
#[btf_map]
pub static SKETCHES: Array<LiveSketch, 1> = Array::new();

/// Blocked sources, in the lines of [`mitigator_common::BlockRegion`]; the first line is a [`LiveHeader`],
/// the second a [`LiveWriterState`]. Written by user space through a mapping of the memory (5.5), by whom it is copied into
/// the other half when it is to grow; hits added here. When it holds as many as were asked to fit, writing fails and says
/// so: nothing is ever evicted.
///
/// [`LiveHeader`]: mitigator_ebpf::block_table::LiveHeader
/// [`LiveWriterState`]: mitigator_ebpf::block_table::LiveWriterState
#[btf_map]
pub static BLOCK_TABLE: Array<
    LiveLine,
    { BlockRegion::map_lines_for(1_048_576) as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();

/// Hits of the blocks in it that were counted by more than one CPU, or are too many, for each line of it. Added here,
/// cleared by user space, as above.
#[btf_map]
pub static BLOCK_HITS: Array<
    LiveHits,
    { BlockRegion::map_lines_for(1_048_576) as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();

/// Marks of the sources in it, and of those that found no place there, for every four lines of it. Written by user space,
/// as above.
#[btf_map]
pub static BLOCK_MARKS: Array<
    LiveMarks,
    { BlockRegion::words_for(BlockRegion::map_lines_for(1_048_576)) as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();

/// Blocked sources that found both their lines full. Written by user space, hits added here. When full, the table
/// above grows.
#[btf_map]
pub static BLOCK_OVERFLOW: HashMap<Source, LiveOverflowingBlock, 65_536, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Blocked prefixes finer or coarser than a source. Written by user space, hits added here.
#[btf_map]
pub static BLOCK_PREFIXES: LpmTrie<WideAddress, BlockEntry, 65_536> = LpmTrie::new();

/// Prefixes that no block may touch. Written by user space.
#[btf_map]
pub static ALLOWLIST: LpmTrie<WideAddress, AllowEntry, 65_536> = LpmTrie::new();

/// How many packets of each signature pass. Written by user space, which keeps them few; counted here.
#[btf_map]
pub static SIGNATURE_LIMITS: HashMap<Signature, Limit, 64> = HashMap::new();

/// What each CPU keeps for itself: packets per outcome, what is left of its budget. Written here, and its number by
/// user space; read by user space.
#[btf_map]
pub static CPU_STATE: PerCpuArray<CpuState, 1> = PerCpuArray::new();
