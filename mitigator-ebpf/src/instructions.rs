//! Single instructions written out for the kernel, where LLVM would choose others in their place.
#![cfg_attr(target_arch = "bpf", expect(unsafe_code, reason = "instructions on registers alone"))]

/// From one address to another. The kernel's verifier lets a whole pointer be subtracted from another and nothing else, where
/// LLVM would take the halves of both, or bits of one because it knows how the other is aligned.
#[inline(always)]
#[must_use]
pub fn distance(from: usize, to: usize) -> usize {
    #[cfg(not(target_arch = "bpf"))]
    return to - from;
    #[cfg(target_arch = "bpf")]
    {
        let mut distance = to;
        // SAFETY: changes nothing but its register.
        unsafe {
            core::arch::asm!(
                "{distance} -= {from}",
                distance = inout(reg) distance,
                from = in(reg) from,
                options(nostack, nomem, pure),
            );
        }
        distance
    }
}

/// All ones for a number below zero, none for another: for what is chosen without a jump, which a processor could not
/// guess, and a verifier would go both ways. LLVM knows what it comes to, and jumps.
#[inline(always)]
#[must_use]
pub fn ones_if_negative(number: i64) -> i64 {
    #[cfg(not(target_arch = "bpf"))]
    return number >> 63;
    #[cfg(target_arch = "bpf")]
    {
        let mut ones = number;
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("{ones} s>>= 63", ones = inout(reg) ones, options(nostack, nomem, pure));
        }
        ones
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_for_what_is_below_zero() {
        for (number, ones) in [(i64::MIN, -1), (-1, -1), (0, 0), (1, 0), (i64::MAX, 0)] {
            assert_eq!(ones_if_negative(number), ones, "{number}");
        }
    }
}
