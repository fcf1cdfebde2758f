//! The maps' names, each spelled once in user space.

/// Totals per source.
pub const SOURCE_COUNTERS: &str = "SOURCE_COUNTERS";
/// Blocked sources.
pub const BLOCKLIST: &str = "BLOCKLIST";
/// Blocked prefixes.
pub const BLOCK_PREFIXES: &str = "BLOCK_PREFIXES";
/// Allowed prefixes.
pub const ALLOWLIST: &str = "ALLOWLIST";
/// How many sources and prefixes are blocked, and how many limits there are.
pub const BLOCK_COUNTS: &str = "BLOCK_COUNTS";
/// How many packets of each signature pass.
pub const SIGNATURE_LIMITS: &str = "SIGNATURE_LIMITS";
/// Packets per outcome.
pub const OUTCOMES: &str = "OUTCOMES";

/// Every map that is pinned.
pub const ALL: [&str; 7] =
    [SOURCE_COUNTERS, BLOCKLIST, BLOCK_PREFIXES, ALLOWLIST, BLOCK_COUNTS, SIGNATURE_LIMITS, OUTCOMES];
