//! What this CPU keeps for itself: what became of its packets, and how many rows it may still make.
//!
//! Packets that arrive and packets that are sent never interrupt each other on one CPU, so that nobody adds at once.

#![expect(unsafe_code, reason = "reads a map value through its pointer")]

use mitigator_common::{CpuState, InsertionBudget, OUTCOME_ROOM, Outcome};
use mitigator_ebpf::shared::{SharedU32, SharedU64};
use mitigator_ebpf::source_table::Among;

use crate::maps::CPU_STATE;

/// [`CpuState`], field by field the same.
#[repr(C)]
pub struct LiveCpuState {
    pub cpu: SharedU32,
    crowded_until: SharedU32,
    outcomes: [SharedU64; OUTCOME_ROOM],
    budget_tick: SharedU32,
    made: SharedU32,
    promoted: SharedU32,
    asked: SharedU32,
    sketch_epoch: SharedU32,
    sketched: SharedU32,
    evicted: SharedU64,
    scratch: SharedU64,
}

const _: () = assert!(size_of::<LiveCpuState>() == size_of::<CpuState>());

/// Of which budget a row is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Sources that were never seen before.
    Strangers,
    /// Sources found heavy.
    Heavy,
    /// Sources that this host asks for something or has a connection with.
    Asked,
}

impl LiveCpuState {
    /// That of the CPU on which this runs.
    #[inline(always)]
    pub fn this() -> Option<&'static Self> {
        let state = CPU_STATE.get_ptr(0)?;
        // SAFETY: the map is never freed while the program runs, and its value is of the same layout.
        Some(unsafe { &*state.cast::<Self>() })
    }

    /// Counts how a packet left.
    #[inline(always)]
    pub fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize & (OUTCOME_ROOM - 1)) {
            counter.add_alone(1);
        }
    }

    /// Whether sources are a crowd, of which light ones are not counted one by one.
    #[inline(always)]
    pub fn is_crowded(&self, now_ns: u64) -> bool {
        let left = self.crowded_until.get().wrapping_sub(InsertionBudget::tick_of(now_ns));
        // A time that is long past looks far ahead.
        left.wrapping_sub(1) < InsertionBudget::CROWD_TICKS
    }

    /// Into whose rows a packet is counted at once.
    #[inline(always)]
    pub fn counts_among(&self, now_ns: u64) -> Among {
        if self.is_crowded(now_ns) { Among::Known } else { Among::All }
    }

    /// Whether there is a row left of a budget; when there is none, sources are a crowd.
    #[inline(always)]
    pub fn has_left(&self, budget: Budget, now_ns: u64) -> bool {
        let tick = InsertionBudget::tick_of(now_ns);
        if self.budget_tick.get() != tick {
            self.budget_tick.set(tick);
            self.made.set(0);
            self.promoted.set(0);
            self.asked.set(0);
        }
        let taken = self.taken(budget);
        if taken.get() < InsertionBudget::ROWS {
            return true;
        }
        if budget == Budget::Strangers {
            self.crowded_until.set(tick.wrapping_add(InsertionBudget::CROWD_TICKS));
        }
        false
    }

    /// Takes a row of a budget, where there is one left.
    #[inline(always)]
    pub fn take(&self, budget: Budget, now_ns: u64) -> bool {
        let has_left = self.has_left(budget, now_ns);
        if has_left {
            self.taken(budget).add_alone(1);
        }
        has_left
    }

    #[inline(always)]
    fn taken(&self, budget: Budget) -> &SharedU32 {
        match budget {
            Budget::Strangers => &self.made,
            Budget::Heavy => &self.promoted,
            Budget::Asked => &self.asked,
        }
    }

    /// Rows made in this tick, or tried to make.
    #[inline(always)]
    pub fn made_in_tick(&self) -> u32 {
        self.made.get().wrapping_add(self.promoted.get()).wrapping_add(self.asked.get())
    }

    /// Counts a packet that is counted in the sketch, in its epoch; how many there are so far.
    #[inline(always)]
    pub fn count_sketched(&self, epoch: u32) -> u32 {
        if self.sketch_epoch.get() != epoch {
            self.sketch_epoch.set(epoch);
            self.sketched.set(0);
        }
        self.sketched.add_alone(1);
        self.sketched.get()
    }

    /// The same number, after a way on which the verifier follows none back: what is computed from it and added to a pointer
    /// does not make the verifier tell apart all the ways by which a packet came here, by what they say of the number. Of the
    /// programs here the one for packets that arrive alone uses it, and no such packet interrupts another on its CPU.
    #[inline(always)]
    pub fn lose_sight_of(&self, number: u64) -> u64 {
        self.scratch.set(number);
        self.scratch.get()
    }

    /// Counts a row that was taken from its source.
    #[inline(always)]
    pub fn count_evicted(&self) {
        self.evicted.add_alone(1);
    }
}
