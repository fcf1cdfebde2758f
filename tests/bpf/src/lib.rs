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

/// One flood: written by the bench, and what is said of it by the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flood {
    /// How many sources there are, drawn at random: the first so many, at least one and below 2^30.
    pub sources: u64,
    /// Of the random numbers; never 0.
    pub state: u64,
    /// Packets so far.
    pub sent: u64,
    /// Number of the interface that they leave by.
    pub interface: u32,
    /// Sum of the IPv4 header's 16-bit words without source and checksum.
    pub header_sum: u32,
}

/// Without padding, so that any bytes are one.
const _: () = assert!(size_of::<Flood>() == 32);

/// The random number after `state`, which is never 0 (xorshift64*, Vigna 2016), and one below `bound` that it stands
/// for; the bound is below 2^32.
#[inline(always)]
#[must_use]
pub const fn draw(mut state: u64, bound: u64) -> (u64, u32) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
    (state, ((random * bound) >> 32) as u32)
}

/// The four bytes of a source's address by its number, in 128.0.0.0/2: those of neighbours are no neighbours in any
/// table, and of numbers below 2^30 no two have the same (the last steps of MurmurHash3, Appleby 2011, in 30 bits).
#[inline(always)]
#[must_use]
pub const fn address_of(number: u32) -> u32 {
    const KEPT: u32 = (1 << 30) - 1;
    let mut bits = number & KEPT;
    bits ^= bits >> 16;
    bits = bits.wrapping_mul(0x85eb_ca6b) & KEPT;
    bits ^= bits >> 13;
    bits = bits.wrapping_mul(0xc2b2_ae35) & KEPT;
    0x8000_0000 | bits ^ (bits >> 16)
}
