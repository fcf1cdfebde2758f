//! `Distinct`: how many different things were seen, exactly while they are few, then by HyperLogLog (Flajolet et al.
//! 2007) with 256 registers, whose standard error is 6.5 %.

use std::hash::Hasher;

use rustc_hash::FxHasher;

/// Counted one by one up to here. More would be exact for longer and cost a look at each: a register is one.
const FEW: usize = 12;
const REGISTERS: usize = 256;

/// A hash of bytes whose bits are all well mixed.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    // The finaliser of MurmurHash3: the registers are chosen by the upper bits, the ranks by the lower ones.
    let mut hash = hasher.finish();
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// A set of which only the size is asked.
#[derive(Clone, Debug)]
pub enum Distinct {
    /// Their hashes.
    Few(Vec<u64>),
    /// The highest rank of each register.
    Many(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Distinct {
    /// Adds a thing by its [`hash_of`].
    pub fn add(&mut self, hash: u64) {
        match self {
            Self::Few(hashes) => {
                if hashes.contains(&hash) {
                    return;
                }
                if hashes.len() < FEW {
                    hashes.push(hash);
                    return;
                }
                let mut registers = Box::new([0; REGISTERS]);
                for known in hashes.iter().chain([&hash]) {
                    rank(&mut registers, *known);
                }
                *self = Self::Many(registers);
            }
            Self::Many(registers) => rank(registers, hash),
        }
    }

    /// Reads of each cache line; what comes out means nothing.
    #[must_use]
    pub fn fetch(&self) -> u64 {
        match self {
            Self::Few(hashes) => hashes.iter().step_by(8).fold(0, |read, hash| read ^ hash),
            Self::Many(registers) => {
                registers.iter().step_by(64).fold(0, |read, rank| read ^ u64::from(*rank))
            }
        }
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "a few")]
            Self::Few(hashes) => hashes.len() as f64,
            Self::Many(registers) => estimate(registers),
        }
    }
}

fn rank(registers: &mut [u8; REGISTERS], hash: u64) {
    let register = usize::from(hash.to_be_bytes()[0]);
    let rank = u8::try_from((hash << 8 | 0x80).leading_zeros() + 1).unwrap_or(u8::MAX);
    if let Some(highest) = registers.get_mut(register) {
        *highest = (*highest).max(rank);
    }
}

#[expect(clippy::cast_precision_loss, reason = "256 registers")]
fn estimate(registers: &[u8; REGISTERS]) -> f64 {
    let count = REGISTERS as f64;
    let alpha = 0.7213 / (1.0 + 1.079 / count);
    let sum: f64 = registers.iter().map(|rank| 2.0_f64.powi(-i32::from(*rank))).sum();
    let raw = alpha * count * count / sum;
    let empty = registers.iter().filter(|rank| **rank == 0).count();
    // Linear counting is better while registers are empty.
    if raw <= 2.5 * count && empty > 0 { (count * (count / empty as f64).ln()).round() } else { raw.round() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_few_exactly_and_many_nearly() {
        for (count, tolerance) in
            [(0, 0.0), (1, 0.0), (12, 0.0), (13, 0.2), (32, 0.2), (500, 0.2), (50_000, 0.2)]
        {
            let mut distinct = Distinct::default();
            for _ in 0..2 {
                for number in 0..count {
                    distinct.add(hash_of(format!("/page/{number}").as_bytes()));
                }
            }
            let wanted = f64::from(count);
            assert!((distinct.count() - wanted).abs() <= wanted * tolerance, "{count}: {}", distinct.count());
        }
    }
}
