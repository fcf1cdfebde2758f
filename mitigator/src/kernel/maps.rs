//! The maps' names, each spelled once in user space.

/// Totals per source.
pub const SOURCE_COUNTERS: &str = "SOURCE_COUNTERS";
/// Blocked sources.
pub const BLOCK_TABLE: &str = "BLOCK_TABLE";
/// Blocked sources for which there is no place in it.
pub const BLOCK_OVERFLOW: &str = "BLOCK_OVERFLOW";
/// Blocked prefixes.
pub const BLOCK_PREFIXES: &str = "BLOCK_PREFIXES";
/// Allowed prefixes.
pub const ALLOWLIST: &str = "ALLOWLIST";
/// How many packets of each signature pass.
pub const SIGNATURE_LIMITS: &str = "SIGNATURE_LIMITS";
/// Packets per outcome.
pub const OUTCOMES: &str = "OUTCOMES";

/// Every map that is pinned.
pub const ALL: [&str; 7] =
    [SOURCE_COUNTERS, BLOCK_TABLE, BLOCK_OVERFLOW, BLOCK_PREFIXES, ALLOWLIST, SIGNATURE_LIMITS, OUTCOMES];
