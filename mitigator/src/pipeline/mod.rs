//! The decision, as pure functions: no I/O, no clock, no randomness but a seed, no async.
//!
//! `snapshot -> history -> activity -> features -> baseline -> gates -> clusters -> verdicts -> changes`; each
//! module is one arrow. Time is an argument everywhere, so a capture replayed twice gives the same
//! verdicts, byte for byte.

pub mod activity;
mod agenda;
pub mod allowlist;
pub mod asked;
pub mod baseline;
pub mod blocklist;
mod case;
pub mod clustering;
pub mod connections;
pub mod features;
pub mod gates;
pub mod held;
pub mod history;
pub mod judge;
pub(crate) mod keyed;
mod left_alone;
pub mod limits;
pub mod meanings;
pub mod paced;
pub mod prefixes;
pub mod rows;
pub mod second_opinion;
pub mod settings;
pub mod snapshot;
pub mod standing;
mod suspects;
pub mod swarm;
pub mod target;
pub mod time;
pub mod vectors;
pub mod verdict;
