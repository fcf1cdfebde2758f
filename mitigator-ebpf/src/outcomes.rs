//! Counts how each packet left.
#![expect(unsafe_code, reason = "writes through a map value pointer")]

use mitigator_common::Outcome;

use crate::maps::OUTCOMES;

/// Adds one to the outcome's counter of this CPU.
#[inline(always)]
pub fn count(outcome: Outcome) {
    if let Some(counter) = OUTCOMES.get_ptr_mut(outcome as u32) {
        // SAFETY: the slot belongs to this CPU, and XDP programs on one CPU do not interleave.
        unsafe { *counter += 1 };
    }
}
