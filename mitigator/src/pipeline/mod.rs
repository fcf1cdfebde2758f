//! The decision, as pure functions: no I/O, no clock, no randomness but a seed, no async.
//!
//! `snapshot -> activity -> features -> baseline -> gates -> clusters -> verdicts -> changes`; each
//! module is one arrow. Time is an argument everywhere, so a capture replayed twice gives the same
//! verdicts, byte for byte.

pub mod activity;
pub mod allowlist;
pub mod asked;
pub mod baseline;
pub mod blocklist;
pub mod clustering;
pub mod connections;
pub mod features;
pub mod gates;
pub mod held;
pub mod limits;
pub mod meanings;
pub mod paced;
pub mod prefixes;
pub mod settings;
pub mod snapshot;
pub mod swarm;
pub mod target;
pub mod time;
pub mod vectors;
pub mod verdict;
