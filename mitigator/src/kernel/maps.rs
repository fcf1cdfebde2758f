//! The maps' names, each spelled once in user space.

/// What marks the rows of sources.
pub const SOURCE_BUCKETS: &str = "SOURCE_BUCKETS";
/// Totals per source.
pub const SOURCE_ROWS: &str = "SOURCE_ROWS";
/// Of them, what is rare, and what came on other CPUs than the one that owns the row.
pub const SOURCE_DETAILS: &str = "SOURCE_DETAILS";
/// What is known of sources without a row.
pub const SKETCHES: &str = "SKETCHES";
/// Blocked sources.
pub const BLOCK_TABLE: &str = "BLOCK_TABLE";
/// Hits of the blocks in it that do not stand there.
pub const BLOCK_HITS: &str = "BLOCK_HITS";
/// Marks of the sources in it.
pub const BLOCK_MARKS: &str = "BLOCK_MARKS";
/// Blocked sources for which there is no place in it.
pub const BLOCK_OVERFLOW: &str = "BLOCK_OVERFLOW";
/// Blocked prefixes.
pub const BLOCK_PREFIXES: &str = "BLOCK_PREFIXES";
/// Allowed prefixes.
pub const ALLOWLIST: &str = "ALLOWLIST";
/// How many packets of each signature pass.
pub const SIGNATURE_LIMITS: &str = "SIGNATURE_LIMITS";
/// What each CPU keeps for itself, packets per outcome among it.
pub const CPU_STATE: &str = "CPU_STATE";

/// Every map that is pinned.
pub const ALL: [&str; 12] = [
    SOURCE_BUCKETS,
    SOURCE_ROWS,
    SOURCE_DETAILS,
    SKETCHES,
    BLOCK_TABLE,
    BLOCK_HITS,
    BLOCK_MARKS,
    BLOCK_OVERFLOW,
    BLOCK_PREFIXES,
    ALLOWLIST,
    SIGNATURE_LIMITS,
    CPU_STATE,
];
