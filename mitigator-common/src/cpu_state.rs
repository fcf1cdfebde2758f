//! `CpuState`: what the data plane keeps for each CPU, which nobody else writes.

use bytemuck::{Pod, Zeroable};

use crate::Outcome;

/// Room for outcomes, a power of two.
pub const OUTCOME_ROOM: usize = 16;
const _: () = assert!(Outcome::COUNT <= OUTCOME_ROOM);

/// The state of one CPU. Totals since the maps were made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CpuState {
    /// Its number, which user space writes when the maps are made.
    pub cpu: u32,
    /// The [`InsertionBudget`] tick until which only known and heavy sources have their packets counted one by one.
    ///
    /// [`InsertionBudget`]: crate::InsertionBudget
    pub crowded_until: u32,
    /// Packets per [`Outcome`], in the order of [`Outcome::ALL`].
    pub outcomes: [u64; OUTCOME_ROOM],
    /// The budget's tick of `made` and `promoted`.
    pub budget_tick: u32,
    /// Rows made for sources that were never seen before, in that tick.
    pub made: u32,
    /// Rows made for sources that were found heavy, in that tick.
    pub promoted: u32,
    /// Rows made for sources that this host asked for something or has a connection with, in that tick.
    pub asked: u32,
    /// The epoch of `sketched`.
    pub sketch_epoch: u32,
    /// Packets counted in the sketch, in that epoch.
    pub sketched: u32,
    /// Rows that were taken from one source for another.
    pub evicted: u64,
    /// A number on its way from one part of the program to another, for the verifier to lose sight of.
    pub scratch: u64,
}

/// How many rows a CPU makes at most: what making one costs is no load then, however many sources there are.
#[derive(Clone, Copy, Debug)]
pub struct InsertionBudget;

impl InsertionBudget {
    /// A tick is 2^23 ns, 8.4 ms.
    pub const TICK_BITS: u32 = 23;
    /// Rows a tick for sources never seen before, as many for those found heavy, and as many for those that this host
    /// asks: 61,000 a second of each.
    pub const ROWS: u32 = 512;
    /// Ticks after the budget was last used up for which sources count as a crowd: half a second.
    pub const CROWD_TICKS: u32 = 64;

    /// The tick that `now_ns` falls into.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "ticks are compared as numbers that wrap")]
    pub const fn tick_of(now_ns: u64) -> u32 {
        (now_ns >> Self::TICK_BITS) as u32
    }
}
