//! `SharedU64` and `SharedU32`: numbers in map values that several CPUs add to at once.
//!
//! The BPF target of rustc has no read-modify-write atomics although every kernel has the atomic
//! addition, so that one instruction is written out, as are those that came with kernel 5.12; the host uses the
//! standard library's.

#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

#[cfg(not(target_arch = "bpf"))]
macro_rules! shared_number {
    ($name:ident, $number:ty, $atomic:ty, $size:literal, $width:literal, $register:literal) => {
        /// A number that several CPUs may add to at once.
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub struct $name($atomic);

        impl $name {
            /// Adds, exactly, and wraps at the end of the range.
            pub fn add(&self, amount: $number) {
                self.0.fetch_add(amount, Relaxed);
            }

            /// The number as it stands.
            #[must_use]
            pub fn get(&self) -> $number {
                self.0.load(Relaxed)
            }

            /// Writes; of several writers one wins.
            pub fn set(&self, value: $number) {
                self.0.store(value, Relaxed);
            }

            /// Like [`Self::get`]; what its writer wrote before [`Self::publish`] can be seen.
            #[must_use]
            pub fn consult(&self) -> $number {
                self.0.load(Acquire)
            }

            /// Like [`Self::set`], after all that was written before.
            pub fn publish(&self, value: $number) {
                self.0.store(value, Release);
            }

            /// Like [`Self::set`], after all that was written before the last [`Self::publish`].
            pub fn set_later(&self, value: $number) {
                self.0.store(value, Release);
            }

            /// Writes `value` where `expected` stands, all at once; whether it stood there. Whoever reads it sees what
            /// was written before.
            #[must_use]
            pub fn replace(&self, expected: $number, value: $number) -> bool {
                self.0.compare_exchange(expected, value, AcqRel, Relaxed).is_ok()
            }

            /// Adds, exactly, after all that was written before; wraps at the end of the range.
            pub fn publish_sum(&self, amount: $number) {
                self.0.fetch_add(amount, Release);
            }

            /// Adds where nobody else writes, which costs next to nothing; wraps at the end of the range.
            pub fn add_alone(&self, amount: $number) {
                self.set(self.get().wrapping_add(amount));
            }
        }
    };
}

#[cfg(target_arch = "bpf")]
macro_rules! shared_number {
    ($name:ident, $number:ty, $atomic:ty, $size:literal, $width:literal, $register:literal) => {
        /// A number that several CPUs may add to at once.
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub struct $name(core::cell::UnsafeCell<$number>);

        #[expect(unsafe_code, reason = "one atomic instruction that rustc does not offer for BPF")]
        impl $name {
            /// Adds, exactly, and wraps at the end of the range.
            #[inline(always)]
            pub fn add(&self, amount: $number) {
                // SAFETY: the instruction adds to the aligned number that `self` borrows.
                unsafe {
                    core::arch::asm!(
                        concat!("lock *(u", $size, " *)({place} + 0) += {amount}"),
                        place = in(reg) self.0.get(),
                        amount = in(reg) u64::from(amount),
                        options(nostack),
                    );
                }
            }

            /// The number as it stands.
            #[inline(always)]
            #[must_use]
            pub fn get(&self) -> $number {
                // SAFETY: an aligned load within a map value is one instruction.
                unsafe { self.0.get().read_volatile() }
            }

            /// Like [`Self::get`], for what tells where to read on: loads whose address depends on a load come
            /// after it on every CPU for which the kernel compiles BPF.
            #[inline(always)]
            #[must_use]
            pub fn consult(&self) -> $number {
                self.get()
            }

            /// Writes; of several writers one wins.
            #[inline(always)]
            pub fn set(&self, value: $number) {
                // SAFETY: an aligned store within a map value is one instruction.
                unsafe { self.0.get().write_volatile(value) }
            }

            /// Like [`Self::set`], after all that was written before: an exchange orders what is around it (5.12).
            #[inline(always)]
            pub fn publish(&self, value: $number) {
                // SAFETY: the instruction changes the aligned number that `self` borrows.
                unsafe {
                    core::arch::asm!(
                        concat!($register, "2 = xchg", $width, "(r1 + 0, ", $register, "2)"),
                        in("r1") self.0.get(),
                        inout("r2") u64::from(value) => _,
                        options(nostack),
                    );
                }
            }

            /// Like [`Self::set`], after all that was written before the last [`Self::publish`]: that has ordered it.
            #[inline(always)]
            pub fn set_later(&self, value: $number) {
                self.set(value);
            }

            /// Writes `value` where `expected` stands, all at once; whether it stood there. Whoever reads it sees what
            /// was written before (5.12).
            #[inline(always)]
            #[must_use]
            pub fn replace(&self, expected: $number, value: $number) -> bool {
                let found: u64;
                // SAFETY: the instruction changes the aligned number that `self` borrows.
                unsafe {
                    core::arch::asm!(
                        concat!($register, "0 = cmpxchg", $width, "(r1 + 0, ", $register, "0, ", $register, "2)"),
                        in("r1") self.0.get(),
                        in("r2") u64::from(value),
                        inout("r0") u64::from(expected) => found,
                        options(nostack),
                    );
                }
                found == u64::from(expected)
            }

            /// Adds, exactly, after all that was written before: with a result, the instruction orders what is around it
            /// (5.12). Wraps at the end of the range.
            #[inline(always)]
            pub fn publish_sum(&self, amount: $number) {
                // SAFETY: the instruction changes the aligned number that `self` borrows.
                unsafe {
                    core::arch::asm!(
                        concat!($register, "2 = atomic_fetch_add((u", $size, " *)(r1 + 0), ", $register, "2)"),
                        in("r1") self.0.get(),
                        inout("r2") u64::from(amount) => _,
                        options(nostack),
                    );
                }
            }

            /// Adds where nobody else writes, which costs next to nothing; wraps at the end of the range.
            #[inline(always)]
            pub fn add_alone(&self, amount: $number) {
                self.set(self.get().wrapping_add(amount));
            }
        }
    };
}

shared_number!(SharedU64, u64, core::sync::atomic::AtomicU64, "64", "_64", "r");
shared_number!(SharedU32, u32, core::sync::atomic::AtomicU32, "32", "32_32", "w");

/// Lets others go on, for whom the caller waits.
#[cfg(not(target_arch = "bpf"))]
pub fn pause() {
    core::hint::spin_loop();
}

impl From<u64> for SharedU64 {
    fn from(value: u64) -> Self {
        let number = Self::default();
        number.set(value);
        number
    }
}

impl From<u32> for SharedU32 {
    fn from(value: u32) -> Self {
        let number = Self::default();
        number.set(value);
        number
    }
}
