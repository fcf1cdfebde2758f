//! The maps' names, each spelled once in user space.

/// Totals per source.
pub const SOURCE_COUNTERS: &str = "SOURCE_COUNTERS";
/// Blocked sources.
pub const BLOCKLIST: &str = "BLOCKLIST";
/// Blocked prefixes.
pub const BLOCK_PREFIXES: &str = "BLOCK_PREFIXES";
/// Allowed prefixes.
pub const ALLOWLIST: &str = "ALLOWLIST";
/// How many sources and how many prefixes are blocked.
pub const BLOCK_COUNTS: &str = "BLOCK_COUNTS";
/// Packets per outcome.
pub const OUTCOMES: &str = "OUTCOMES";

/// Every map that is pinned.
pub const ALL: [&str; 6] = [SOURCE_COUNTERS, BLOCKLIST, BLOCK_PREFIXES, ALLOWLIST, BLOCK_COUNTS, OUTCOMES];
