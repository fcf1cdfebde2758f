//! What is written for the kernel's verifier alone.
#![expect(unsafe_code, reason = "two instructions that the compiler would take away")]

use core::arch::asm;

/// The same number, of which the verifier knows nothing any more, so that it walks once through what follows, and not once
/// for each number that it knew. `unknown` is any of which it knows nothing either.
#[inline(always)]
#[must_use]
pub fn forget(number: u64, unknown: u64) -> u64 {
    let mut forgotten = number;
    // SAFETY: changes bits of a register and changes them back.
    unsafe {
        asm!(
            "{forgotten} ^= {unknown}",
            "{forgotten} ^= {unknown}",
            forgotten = inout(reg) forgotten,
            unknown = in(reg) unknown,
            options(pure, nomem, nostack),
        );
    }
    forgotten
}
