//! What the bench tells its own BPF programs, and what they tell it.
#![no_std]

/// One burst of packets: written by the bench, and what is said of how it went by the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burst {
    /// How many packets; at least two.
    pub packets: u64,
    /// Where in each packet the bytes stand that tell sources apart, below [`Burst::OFFSETS`].
    pub offset: u32,
    /// Number of the first source.
    pub first: u32,
    /// How many there are, drawn at random, below 2^32; 0 for one after the other, each another.
    pub sources: u64,
    /// Of the random numbers; never 0.
    pub state: u64,
    /// Packets so far.
    pub done: u64,
    /// The first half of the eight bytes there, where the second tells sources apart; 0 where there are but four.
    pub before: u64,
    /// Monotonic time at the first packet and at the last.
    pub began_ns: u64,
    /// As `began_ns`.
    pub ended_ns: u64,
}

/// Without padding, so that any bytes are one.
const _: () = assert!(size_of::<Burst>() == 64);

impl Burst {
    /// Where the four bytes may stand; a power of two.
    pub const OFFSETS: u32 = 64;
}

/// The four bytes of a source's address by its number: those of neighbours are no neighbours in any table, and no two
/// are the same (the last steps of MurmurHash3, Appleby 2011).
#[inline(always)]
#[must_use]
pub const fn address_of(number: u32) -> u32 {
    let mut bits = number ^ (number >> 16);
    bits = bits.wrapping_mul(0x85eb_ca6b);
    bits ^= bits >> 13;
    bits = bits.wrapping_mul(0xc2b2_ae35);
    bits ^ (bits >> 16)
}
