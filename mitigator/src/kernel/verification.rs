//! What the kernel's verifier says of each embedded program, attached or not.

use anyhow::{Context, Result, bail};
use aya::programs::Program;

use super::pins::Pins;
use super::program;
use crate::config::Capacities;

/// A program that the verifier accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its name.
    pub program: String,
    /// Instructions that the verifier walked through; `None` before kernel 5.16, which does not tell.
    pub instructions: Option<u32>,
}

/// Loads each program over the pinned maps and lets go of it again; in the order of their names.
///
/// # Errors
///
/// When rights are missing, memory is short, or the verifier refuses.
pub fn verify_all(pins: &Pins, capacities: &Capacities) -> Result<Vec<Verified>> {
    let mut ebpf = program::open(pins, capacities)?;
    let mut verified = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            other => bail!("`{name}` is a {:?}, which is nothing that mitigator loads", other.prog_type()),
        }
        .with_context(|| format!("the kernel refused the program `{name}`"))?;
        let instructions = program.info()?.verified_instruction_count();
        verified.push(Verified { program: name.to_owned(), instructions });
    }
    verified.sort_by(|a, b| a.program.cmp(&b.program));
    Ok(verified)
}
