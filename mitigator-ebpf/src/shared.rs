//! `SharedU64` and `SharedU32`: numbers in map values that several CPUs add to at once.
//!
//! The BPF target of rustc has no read-modify-write atomics although every kernel has the atomic
//! addition, so that one instruction is written out; the host uses the standard library's.

#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

#[cfg(not(target_arch = "bpf"))]
macro_rules! shared_number {
    ($name:ident, $number:ty, $atomic:ty, $size:literal) => {
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
        }
    };
}

#[cfg(target_arch = "bpf")]
macro_rules! shared_number {
    ($name:ident, $number:ty, $atomic:ty, $size:literal) => {
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
        }
    };
}

shared_number!(SharedU64, u64, core::sync::atomic::AtomicU64, "64");
shared_number!(SharedU32, u32, core::sync::atomic::AtomicU32, "32");

impl From<u64> for SharedU64 {
    fn from(value: u64) -> Self {
        let number = Self::default();
        number.set(value);
        number
    }
}
