//! `Cursor`: the bounds-checked reads of packet bytes, over a packet in the kernel or a slice on
//! the host; `Sheet`: the writes. Nothing else in the crate touches packet memory.
#![expect(unsafe_code, reason = "the one place that dereferences packet pointers")]

use core::marker::PhantomData;

use crate::instructions::distance;

/// The bytes of one packet, from its Ethernet header on.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'packet> {
    start: usize,
    end: usize,
    bytes: PhantomData<&'packet [u8]>,
}

impl<'packet> Cursor<'packet> {
    /// Over a slice.
    #[must_use]
    pub fn over(bytes: &'packet [u8]) -> Self {
        let range = bytes.as_ptr_range();
        Self {
            start: range.start.expose_provenance(),
            end: range.end.expose_provenance(),
            bytes: PhantomData,
        }
    }

    /// Over the packet between two addresses.
    ///
    /// # Safety
    ///
    /// `start..end` must be readable memory for as long as `'packet`, as it is between `data` and
    /// `data_end` of an XDP context.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn between(start: usize, end: usize) -> Self {
        Self { start, end, bytes: PhantomData }
    }

    /// How many bytes there are.
    #[inline(always)]
    #[must_use]
    pub fn length(&self) -> usize {
        distance(self.start, self.end)
    }

    /// The `N` bytes at `offset`, or `None` when the packet ends before them.
    #[inline(always)]
    #[must_use]
    pub fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // The verifier recognises exactly this form: pointer + bounded offset + constant > end.
        if self.start + offset + N > self.end {
            return None;
        }
        let bytes = core::ptr::with_exposed_provenance::<[u8; N]>(self.start + offset);
        // SAFETY: the check above keeps the read inside `start..end`, readable by the contract of
        // the constructors; arrays of bytes have no alignment to respect.
        Some(unsafe { bytes.read() })
    }
}

/// `N` bytes of a packet that are there, so that what lies within them is read without another check.
#[derive(Clone, Copy, Debug)]
pub struct Span<'packet, const N: usize> {
    start: usize,
    bytes: PhantomData<&'packet [u8; N]>,
}

impl<'packet> Cursor<'packet> {
    /// The `N` bytes from `offset` on, or `None` when the packet ends before their end.
    #[inline(always)]
    #[must_use]
    pub const fn span<const N: usize>(&self, offset: usize) -> Option<Span<'packet, N>> {
        let start = self.start + offset;
        // As in `read`.
        if start + N > self.end { None } else { Some(Span { start, bytes: PhantomData }) }
    }
}

/// Numbers in network order. The compiler would put them together byte by byte, because they may lie at any address;
/// the kernel takes them at once on every architecture that can (x86, arm64, ppc64, s390x).
macro_rules! read_number {
    ($name:ident, $number:ty, $bits:literal) => {
        impl<const N: usize> Span<'_, N> {
            #[doc = concat!("The ", $bits, "-bit number at `OFFSET`, which lies within.")]
            #[inline(always)]
            #[must_use]
            pub fn $name<const OFFSET: usize>(&self) -> $number {
                const { assert!(OFFSET + size_of::<$number>() <= N) };
                #[cfg(not(target_arch = "bpf"))]
                let number = {
                    let place = core::ptr::with_exposed_provenance::<$number>(self.start + OFFSET);
                    // SAFETY: within the span, which was checked; at any alignment.
                    unsafe { place.read_unaligned() }
                };
                #[cfg(target_arch = "bpf")]
                let number = {
                    let number: u64;
                    // SAFETY: within the span, which was checked.
                    unsafe {
                        core::arch::asm!(
                            concat!("{number} = *(u", $bits, " *)({place} + {offset})"),
                            place = in(reg) self.start,
                            offset = const OFFSET,
                            number = out(reg) number,
                            options(nostack, readonly, pure),
                        );
                        // A load fills what is above it with zeros; LLVM need not cut it to what it is.
                        core::hint::assert_unchecked(number <= <$number>::MAX as u64);
                    }
                    number as $number
                };
                <$number>::from_be(number)
            }
        }
    };
}

read_number!(u8, u8, "8");
read_number!(u16, u16, "16");
read_number!(u32, u32, "32");
read_number!(u64, u64, "64");

/// The bytes of one packet, to write.
#[derive(Debug)]
pub struct Sheet<'packet> {
    start: usize,
    end: usize,
    bytes: PhantomData<&'packet mut [u8]>,
}

impl<'packet> Sheet<'packet> {
    /// Over a slice.
    #[must_use]
    pub fn over(bytes: &'packet mut [u8]) -> Self {
        let range = bytes.as_mut_ptr_range();
        Self {
            start: range.start.expose_provenance(),
            end: range.end.expose_provenance(),
            bytes: PhantomData,
        }
    }

    /// Over the packet between two addresses.
    ///
    /// # Safety
    ///
    /// `start..end` must be writable memory for as long as `'packet`, which nothing else refers to meanwhile.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn between(start: usize, end: usize) -> Self {
        Self { start, end, bytes: PhantomData }
    }

    /// Writes words, as they lie in memory, from `offset` on; `false` when the packet ends before their end.
    #[inline(always)]
    #[must_use]
    pub fn write<const N: usize>(&mut self, offset: usize, words: &[u32; N]) -> bool {
        let start = self.start + offset;
        // As in `Cursor::read`.
        if start + N * 4 > self.end {
            return false;
        }
        for (place, word) in (start..).step_by(4).zip(*words) {
            #[cfg(not(target_arch = "bpf"))]
            {
                let place = core::ptr::with_exposed_provenance_mut::<u32>(place);
                // SAFETY: within the packet, which was checked; at any alignment.
                unsafe { place.write_unaligned(word) };
            }
            #[cfg(target_arch = "bpf")]
            // SAFETY: within the packet, which was checked.
            unsafe {
                core::arch::asm!(
                    "*(u32 *)({place} + 0) = {word}",
                    place = in(reg) place,
                    word = in(reg) u64::from(word),
                    options(nostack),
                );
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_up_to_the_last_byte_and_not_past_it() {
        let mut bytes = [0; 9];
        assert!(Sheet::over(&mut bytes).write(1, &[0x0403_0201_u32.to_le(), 0x0807_0605_u32.to_le()]));
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(!Sheet::over(&mut bytes).write(6, &[0]));
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn reads_up_to_the_last_byte_and_not_past_it() {
        let cursor = Cursor::over(&[1, 2, 3, 4]);
        assert_eq!(cursor.length(), 4);
        assert_eq!(cursor.read::<4>(0), Some([1, 2, 3, 4]));
        assert_eq!(cursor.read::<1>(3), Some([4]));
        assert_eq!(cursor.read::<1>(4), None);
        assert_eq!(cursor.read::<2>(3), None);
        assert_eq!(Cursor::over(&[]).read::<1>(0), None);
        let span = cursor.span::<3>(1).unwrap();
        assert_eq!((span.u8::<2>(), span.u16::<0>(), span.u16::<1>()), (4, 0x0203, 0x0304));
        assert_eq!(cursor.span::<4>(0).map(|span| span.u32::<0>()), Some(0x0102_0304));
        assert!(cursor.span::<4>(1).is_none());
    }
}
