//! The verifier accepts every program, and does not have to walk far for it.

use anyhow::{Result, ensure};
use mitigator::config::Capacities;
use mitigator::kernel::verification::{Verified, verify_all};

use super::bench::Bench;

/// A fifth of what the kernel takes (1,000,000), so that older verifiers, which see less that is alike, have room.
const MOST_INSTRUCTIONS: u32 = 200_000;

/// Prints a line for each program, which `cargo xtask vm` reads.
pub fn print(verified: &[Verified]) {
    for Verified { program, instructions } in verified {
        let instructions = instructions.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
        println!("verified instructions: {program} {instructions}");
    }
}

/// Loads every program.
pub fn ask() -> Result<Vec<Verified>> {
    let capacities = Capacities { sources: 4_096, blocks: 1_024, prefixes: 256 };
    let bench = Bench::new(&capacities)?;
    let verified = verify_all(&bench.pins(), &capacities)?;
    ensure!(verified.iter().any(|verified| verified.program == "mitigate"), "{verified:?}");
    for Verified { program, instructions } in &verified {
        let instructions = instructions.unwrap_or(1);
        ensure!(
            (1..=MOST_INSTRUCTIONS).contains(&instructions),
            "the verifier walked through {instructions} instructions of `{program}`; there should be \
             {MOST_INSTRUCTIONS} at most"
        );
    }
    Ok(verified)
}
