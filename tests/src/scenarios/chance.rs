//! Chance with a seed.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// Numbers that are the same for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    /// The `stream`th of those of a seed.
    pub(super) fn new(seed: u64, stream: usize) -> Self {
        let stream = (stream as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ stream))
    }

    /// Any number.
    pub(super) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 0 or more, less than `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        u64::try_from((u128::from(self.number()) * u128::from(end)) >> 64).unwrap_or(0)
    }

    /// 0 or more, less than 1.
    pub(super) fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between events that know nothing of each other; 1 on average.
    pub(super) fn gap(&mut self) -> f64 {
        -(1.0 - self.share()).ln()
    }
}
