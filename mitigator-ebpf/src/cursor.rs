//! `Cursor`: the one bounds-checked read of packet bytes, over a packet in the kernel or a slice on
//! the host. Nothing else in the crate touches packet memory.
#![expect(unsafe_code, reason = "the one place that dereferences packet pointers")]

use core::marker::PhantomData;

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
    pub const fn length(&self) -> usize {
        self.end - self.start
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_up_to_the_last_byte_and_not_past_it() {
        let cursor = Cursor::over(&[1, 2, 3, 4]);
        assert_eq!(cursor.length(), 4);
        assert_eq!(cursor.read::<4>(0), Some([1, 2, 3, 4]));
        assert_eq!(cursor.read::<1>(3), Some([4]));
        assert_eq!(cursor.read::<1>(4), None);
        assert_eq!(cursor.read::<2>(3), None);
        assert_eq!(Cursor::over(&[]).read::<1>(0), None);
    }
}
